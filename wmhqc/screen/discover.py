"""The scans of a folder or of a BIDS data set, and the files that belong to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from wmhqc.sources import bids, layouts


def discover(source, templates: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The cases of a folder or of a BIDS data set.

    A BIDS data set has a file ``dataset_description.json`` and is read by `wmhqc.sources.bids.read_bids`,
    any other folder by `wmhqc.sources.layouts.from_folder`.

    Parameters
    ----------
    source : path
    templates : mapping, optional
        Where further files lie, by the names in `wmhqc.screen.inputs.INPUTS`: a path in which ``{case}`` stands for
        the name of the case, ``{folder}`` for the folder of its FLAIR and ``{path}`` for that folder as
        seen from `source` (sub-x/ses-y/anat). A mask that is not there counts as not given, or stays
        the one that was found; a segmentation or T1 that is not there is missing.

    Returns
    -------
    DataFrame
        A cohort (`wmhqc.cohort`) with the column segmentation.
    """
    source = Path(source)
    table = bids.read_bids(source) if (source / bids.DESCRIPTION).is_file() else layouts.from_folder(source)
    table["segmentation"] = ""
    for name, template in (templates or {}).items():
        paths = [_fill(template, row, source) for row in table.to_dict("records")]
        there = [Path(path).is_file() for path in paths]
        if not any(there):
            raise FileNotFoundError(f"no case has a file {template}, for example {paths[0]}")
        needed = name in ("segmentation", "t1")
        found = zip(paths, there, table[name], strict=True)
        table[name] = [path if needed or is_there else old for path, is_there, old in found]
    return table


def _fill(template: str, row: Mapping, source: Path) -> str:
    folder = Path(row["flair"]).parent
    words = {"{case}": row["case"], "{folder}": str(folder)}
    if "{path}" in template:
        words["{path}"] = os.path.relpath(folder.resolve(), source.resolve())
    for word, value in words.items():
        template = template.replace(word, value)
    return template


def other_masks(patients: pd.DataFrame) -> pd.DataFrame:
    """Masks that other programs drew, where they lie beside a scan as pred/<case>_pred-<program>.nii.gz.

    Returns
    -------
    DataFrame
        The row of the patient once for each mask, with the columns segmentation and program.
    """
    rows = []
    for row in patients.to_dict("records"):
        for mask in sorted((Path(row["flair"]).parent / "pred").glob(f"{row['case']}_pred-*.nii*")):
            program = mask.name.removeprefix(f"{row['case']}_pred-").split(".")[0]
            rows.append(row | {"segmentation": str(mask), "program": program})
    return pd.DataFrame(rows, columns=[*patients.columns, "segmentation", "program"])
