"""All real patients that can be had here: prepared ones on the disk, and MS17 from its server."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from wmhqc.cohort import COLUMNS
from wmhqc.sources import download, layouts


def real_patients(ms17: bool = True, progress: bool = True, timeout: float = 5) -> tuple[pd.DataFrame, str]:
    """All real patients that can be had here, with their licences.

    A folder of prepared patients (``data/real`` below the environment variable WMHQC_SHARED, or
    below ``../shared``, seen from the working directory or from the repository) and, unless
    `ms17` is False, MS17 (30 patients, about 250 MB, once).

    Returns
    -------
    table : DataFrame
        Cohort table with the columns licence and citation; perhaps empty.
    message : str
        What could not be had, and why; empty if nothing is missing.
    """
    tables, messages = [], []
    folder = _shared()
    if folder is None:
        messages.append("No folder of prepared patients (set WMHQC_SHARED to a folder that has data/real).")
    else:
        tables.append(layouts.with_licences(layouts.from_folder(folder)))
    if ms17:
        fetched, reason = download.try_ms17(progress=progress, timeout=timeout)
        if reason:
            messages.append(f"MS17 is not complete: {reason}")
        if len(fetched):
            tables.append(fetched)
    if not tables:
        return _none(), " ".join(messages)
    # The folder may hold MS17 patients too, under the same names.
    table = pd.concat(tables, ignore_index=True).drop_duplicates("case").reset_index(drop=True)
    return table, " ".join(messages)


#: Where known scans of another kind are from: start of the case -> what it is, licence, citation.
ODD = {
    "sub-glioma": (
        "a tumour",
        "Apache-2.0 (that of the images is not confirmed)",
        "Low-grade glioma of TCGA-LGG, through github.com/BrainLesion/tutorials",
    ),
    "sub-long": (
        "a whole head",
        "CC BY",
        "Longitudinal MS, whole head: Lesjak et al., Neuroinformatics (2016)",
    ),
}


def odd_scans() -> pd.DataFrame:
    """Real scans of another kind, where the folder of `real_patients` has them beside its own.

    ``data/ood`` holds another disease, ``data/wholehead`` heads with their skull.

    Returns
    -------
    DataFrame
        Cohort table, with licence, citation and the name by which it is `called`; perhaps empty.
    """
    folder = _shared()
    beside = [folder.parent / kind for kind in ("ood", "wholehead")] if folder else []
    tables = [layouts.from_folder(path) for path in beside if path.is_dir()]
    rows = pd.concat(tables).to_dict("records") if tables else []
    for row in rows:
        kinds = [found for start, found in ODD.items() if row["case"].startswith(start)]
        what, row["licence"], row["citation"] = kinds[0] if kinds else ("", "", "")
        row["called"] = f"{row['case']} ({what})" if what else row["case"]
    return pd.DataFrame(rows) if rows else _none()


def _shared() -> Path | None:
    places = [Path.cwd().parent / "shared", Path(__file__).resolve().parents[3] / "shared"]
    if os.environ.get("WMHQC_SHARED"):
        places = [Path(os.environ["WMHQC_SHARED"])]
    return next((place / "data" / "real" for place in places if (place / "data" / "real").is_dir()), None)


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=[*COLUMNS, "licence", "citation"])
