"""Readers of plain folders and of the four databases: which file is what, as a cohort; and their licences."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from wmhqc.cohort import as_table

#: The ending of a NIfTI file, as a pattern.
NIFTI = r"\.(?i:nii(\.gz)?)"
#: Short names of the MICCAI17 scanners, for the case.
SITE_CODES = {"Utrecht": "utr", "Singapore": "sing", "GE3T": "ge3t", "GE1T5": "ge1t5", "Philips": "petmr"}
#: Licence and citation of the databases that the software can show (database or site -> text).
LICENCES = {
    "MS17": {
        "licence": "CC BY",
        "citation": (
            "Lesjak, Pernuš, Likar, Špiclin: A novel public MR image dataset of multiple sclerosis "
            "patients with lesion segmentations based on multi-rater consensus. Neuroinformatics "
            "(2017), doi:10.1007/s12021-017-9348-7"
        ),
    },
    "Tabriz": {
        "licence": "CC BY 4.0",
        "citation": (
            "Bashiri Bawil et al.: MS3SEG. Scientific Data (2026), arXiv:2506.07123, doi:10.6084/m9.figshare.30393475"
        ),
    },
}


def from_folder(folder) -> pd.DataFrame:
    """Read a folder with BIDS-like names.

    Below `folder`, at any depth (``sub-x/``, ``sub-x/anat/``, ``sub-x/ses-1/anat/``):
    ``sub-x_T1w.nii.gz``, ``sub-x_FLAIR.nii.gz`` and, if there are, ``sub-x_lesion.nii.gz`` and
    ``sub-x_brainmask.nii.gz`` (.nii or .nii.gz). What stands before the last underscore is the
    case (``sub-x_ses-1``), what stands after ``sub-`` the patient.
    """

    def row(file: Path, match: re.Match) -> dict:
        stem = file.parent / match["case"]
        return {
            "case": match["case"],
            "patient": match["patient"],
            "database": "other",
            "t1": _file(f"{stem}_T1w"),
            "flair": _file(f"{stem}_FLAIR"),
            "lesion": _file(f"{stem}_lesion", optional=True),
            "brainmask": _file(f"{stem}_brainmask", optional=True),
        }

    pattern = r"/(?P<case>sub-(?P<patient>[^_/]+)(_[^/]+)?)_(FLAIR|T1w)"
    return _read(folder, pattern, row, "sub-x/sub-x_FLAIR.nii.gz")


def read_miccai17(folder, merge_other: bool = False) -> pd.DataFrame:
    """Read the WMH Segmentation Challenge of MICCAI 2017.

    ``<site>/<id>/{pre,orig}/{T1,FLAIR}.nii.gz`` and ``<site>/<id>/wmh.nii.gz``; site is Utrecht,
    Singapore or Amsterdam/GE3T (in the test part also Amsterdam/GE1T5 and Amsterdam/Philips...).
    Both the original archives and the later release with the folders ``training`` and ``test``
    (DataverseNL, doi:10.34894/AECRSD) look so; described at https://wmh.isi.uu.nl. The
    bias-corrected images (``pre``) are taken, the originals where there are none. The release
    has no brain masks: a file ``brainmask.nii.gz`` beside ``wmh.nii.gz`` is used.

    Parameters
    ----------
    merge_other : bool
        Label 2 is 'other pathology', which the challenge does not count. False: lesion is
        label 1. True: both labels are lesion, as in the paper's code (every label > 0).
    """

    def row(file: Path, match: re.Match) -> dict:
        case = file.parent.parent
        site = re.match("[A-Za-z0-9]+", match["site"])[0]
        number = match["id"].zfill(2)
        return {
            "case": f"sub-{SITE_CODES.get(site, site.lower())}{re.sub('[^A-Za-z0-9]', '', number)}",
            "patient": match["id"],
            "database": "MICCAI17",
            "site": site,
            "t1": _file(file.parent / "T1"),
            "flair": str(file),
            "lesion": _file(case / "wmh"),
            "brainmask": _file(case / "brainmask", optional=True),
            "lesion_rule": "label > 0" if merge_other else "label 1",
        }

    sites = "Utrecht|Singapore|GE3T|GE1T5|Philips[^/]*"
    pattern = rf"/(?P<site>{sites})/(?P<id>[^/]+)/(?P<kind>pre|orig)/FLAIR"
    return _read(folder, pattern, row, "<site>/<id>/pre/FLAIR.nii.gz", lambda match: match["kind"] != "pre")


def read_ms15(folder, raters: str = "union") -> pd.DataFrame:
    """Read the training set of the longitudinal MS challenge of ISBI 2015.

    ``training0X/preprocessed/training0X_0Y_{flair,mprage}_pp.nii`` and
    ``training0X/masks/training0X_0Y_mask{1,2}.nii`` (masks beside the images are found too);
    described in Carass et al., NeuroImage 148 (2017), doi:10.1016/j.neuroimage.2016.12.064.
    As in the paper one time point of each patient is read, the first. Images have no skull.

    Parameters
    ----------
    raters : {'union', 'intersection', '1', '2'}
        Which of the two raters' masks is the truth. The paper's code took the union.
    """
    if raters not in ("union", "intersection", "1", "2"):
        raise ValueError(f"raters must be 'union', 'intersection', '1' or '2', got {raters!r}")

    def row(file: Path, match: re.Match) -> dict:
        def mask(rater: str) -> str:
            name = f"training{match['id']}_{match['time']}_mask{rater}"
            beside = _file(file.parent / name, optional=True)
            return beside or _file(file.parent.parent / "masks" / name)

        both = raters in ("union", "intersection")
        return {
            "case": f"sub-ms15p{match['id']}",
            "patient": match["id"],
            "database": "MS15",
            "site": "JHU",
            "t1": _file(file.parent / f"training{match['id']}_{match['time']}_mprage_pp"),
            "flair": str(file),
            "lesion": mask("1" if both else raters),
            "lesion2": mask("2") if both else "",
            "lesion_rule": raters if both else "label > 0",
        }

    pattern = r"/training(?P<id>\d+)_(?P<time>\d+)_flair_pp"
    return _read(
        folder, pattern, row, "training01/preprocessed/training01_01_flair_pp.nii", lambda match: match["time"]
    )


def read_ms16(folder) -> pd.DataFrame:
    """Read the MS challenge of MICCAI 2016 (MSSEG).

    ``Center_0X/Patient_0Y/Preprocessed_Data/{FLAIR,T1}_preprocessed.nii.gz``,
    ``Masks/Consensus.nii.gz`` and, where given, ``Masks/Brain_Mask.nii.gz``; described in
    Commowick et al., NeuroImage 244 (2021), doi:10.1016/j.neuroimage.2021.118589. The paper
    used the ten patients of the centres 01 and 08.
    """

    def row(file: Path, match: re.Match) -> dict:
        masks = file.parent.parent / "Masks"
        return {
            "case": f"sub-ms16c{match['site']}p{match['id']}",
            "patient": f"{match['site']}-{match['id']}",
            "database": "MS16",
            "site": match["site"],
            "t1": _file(file.parent / "T1_preprocessed"),
            "flair": str(file),
            "lesion": _file(masks / "Consensus"),
            "brainmask": _file(masks / "Brain_Mask", optional=True),
            "lesion_rule": "label > 0",
        }

    pattern = r"/Center_(?P<site>\d+)/Patient_(?P<id>\d+)/Preprocessed_Data/FLAIR_preprocessed"
    return _read(folder, pattern, row, "Center_01/Patient_01/Preprocessed_Data/FLAIR_preprocessed.nii.gz")


def read_ms17(folder) -> pd.DataFrame:
    """Read the 30 patients of Lesjak et al. (2017), in the owners' layout or the mirror's.

    Owners (README of the archive 3D-MR-MS, http://lit.fe.uni-lj.si/tools):
    ``patientXX/patientXX_{FLAIR,T1W}.nii.gz``, ``_consensus_gt`` and ``_brainmask``.
    Mirror github.com/muschellij2/open_ms_data: ``cross_sectional/coregistered`` (names without
    ``patientXX_``) and ``cross_sectional/MNI/patientXX/{FLAIR,T1,GOLD_STANDARD}_N4_...``, which
    has no skull and no brain mask; MNI counts if both are there. Raw images are left out.
    """

    def row(file: Path, match: re.Match) -> dict:
        known = {
            "case": f"sub-ms17p{match['id']}",
            "patient": match["id"],
            "database": "MS17",
            "site": "Ljubljana",
            "flair": str(file),
        }
        if "_regtoMNI" in file.name:
            stem = "N4_noneck_reduced_winsor_regtoFLAIR"
            return known | {
                "t1": _file(file.parent / f"T1_{stem}_brain_N4_regtoMNI"),
                "lesion": _file(file.parent / f"GOLD_STANDARD_{stem}_regtoMNI"),
                "brainmask": _file(file.parent / "brainmask", optional=True),
            }
        stem = f"{file.parent}/{match['prefix'] or ''}"
        # In the mirror some files of a patient have the prefix and some have not.
        other = f"{file.parent}/" if match["prefix"] else f"{file.parent}/patient{match['id']}_"

        def find(name: str, optional: bool = False) -> str:
            return _file(other + name, optional=True) or _file(stem + name, optional)

        return known | {"t1": find("T1W"), "lesion": find("consensus_gt"), "brainmask": find("brainmask", True)}

    pattern = r"(?<!/raw)/patient(?P<id>\d+)/(?P<prefix>patient\d+_)?FLAIR(?P<mni>_N4_\w*_regtoMNI)?"
    return _read(folder, pattern, row, "patient01/patient01_FLAIR.nii.gz", lambda match: not match["mni"])


#: The readers, by the names that `wmhqc cohort` takes.
READERS = {
    "folder": from_folder,
    "miccai17": read_miccai17,
    "ms15": read_ms15,
    "ms16": read_ms16,
    "ms17": read_ms17,
}


def nifti_files(folder) -> list[Path]:
    """All NIfTI files (.nii, .nii.gz, also in capitals) below a folder, sorted.

    Linked folders are entered too, each folder once; hidden files and folders are left out.

    Raises
    ------
    OSError
        A folder cannot be read: its scans would be missing.
    """

    def refuse(error: OSError):
        raise OSError(error.errno, f"cannot read the folder {error.filename}: {error.strerror}") from error

    files, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        shown = [] if real in seen else [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(shown, key=lambda name: (os.path.islink(os.path.join(parent, name)), name))
        if real not in seen:
            files += [Path(parent, name) for name in names if re.fullmatch(rf"[^.].*{NIFTI}", name)]
        seen.add(real)
    return sorted(files)


def _read(folder, pattern: str, row: Callable, example: str, rank: Callable = lambda match: 0) -> pd.DataFrame:
    """One row for each case with a NIfTI file below `folder` whose path matches `pattern`.

    Where several files give the same case, the one with the lowest `rank` counts.

    Raises
    ------
    FileNotFoundError, ValueError
        No such folder; no case; or a case is there twice, with the same rank.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one with {example}")
    matches = [(file, re.search(pattern + NIFTI + "$", file.as_posix())) for file in nifti_files(folder.resolve())]
    found: dict[str, tuple] = {}
    for order, file, match in sorted((rank(match), file, match) for file, match in matches if match):
        new = row(file, match)
        old_order, old_file, old = found.setdefault(new["case"], (order, file, new))
        if old_order == order and old != new:
            raise ValueError(
                f"{folder}: {new['case']} is there twice: {old_file} and {file}; give a folder that has each case once"
            )
    if not found:
        raise ValueError(f"{folder}: no case found; expected files like {example}")
    return as_table([found[case][2] for case in sorted(found)], str(folder))


def _file(stem, optional: bool = False) -> str:
    """Path of `stem`.nii.gz or .nii; if neither exists, the first name, or empty if optional."""
    found = [f"{stem}{end}" for end in (".nii.gz", ".nii", ".NII.GZ", ".NII") if os.path.lexists(f"{stem}{end}")]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} are both there, and may differ; remove one")
    return found[0] if found else "" if optional else f"{stem}.nii.gz"


def with_licences(table: pd.DataFrame) -> pd.DataFrame:
    """Fill database, site, patient, licence and citation of patients whose name says where they are from."""
    known = {"sub-ms17p": ("MS17", "Ljubljana", "MS17"), "sub-tab": ("other", "Tabriz", "Tabriz")}
    rows = table.to_dict("records")
    for row in rows:
        row |= {"licence": "", "citation": ""}
        for prefix, (database, site, source) in known.items():
            if row["case"].startswith(prefix):
                row |= {"database": database, "site": site, "patient": row["case"].removeprefix(prefix)}
                row |= LICENCES[source]
    return pd.DataFrame(rows, columns=[*table.columns, "licence", "citation"])
