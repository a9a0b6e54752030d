"""A cohort is a table with one row per case; this file reads it, and checks what comes in.

Columns: case (unique, BIDS-like, e.g. ``sub-utr03``), database (MS15, MS16, MS17, MICCAI17 or
other), site, patient, t1, flair, lesion, brainmask (paths; lesion and brainmask may be empty),
lesion_rule and lesion2 (how the mask is read, see `load_lesion`), synthetic (bool), and facts
that are known about a case (`add_facts`).
"""

from __future__ import annotations

import gzip
import itertools
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc.files import replacing

COLUMNS = [
    "case", "database", "site", "patient", "t1", "flair", "lesion", "brainmask",
    "lesion_rule", "lesion2", "synthetic",
]
PATHS = ["t1", "flair", "lesion", "brainmask", "lesion2"]
NAMES = {"t1": "T1", "flair": "FLAIR", "lesion": "lesion mask", "brainmask": "brain mask"}

#: Licence and citation of the databases that the software can show (database or site -> text).
SOURCES = {
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
            "Bashiri Bawil et al.: MS3SEG. Scientific Data (2026), arXiv:2506.07123, "
            "doi:10.6084/m9.figshare.30393475"
        ),
    },
}

#: Voxels of two images may lie apart by this part of the smallest voxel edge.
GRID_TOLERANCE = 0.1
#: A mask must be brighter on FLAIR than its surroundings (`contrast`). In 11 real patients it is
#: 0.95 to 0.99, and still 0.72 for the same masks drawn one voxel too wide; it is at most 0.59
#: for the mask of another patient, 0.70 for a mirrored one.
MIN_CONTRAST = 0.7
#: The surroundings of a lesion: this far from it, in mm.
SURROUNDINGS_MM = (2.0, 6.0)
#: A larger part of the lesions outside the brain mask is a mistake.
MAX_OUTSIDE = 0.1
#: Two images whose voxels correlate more than this are the same scan (different patients: below 0.9).
SAME_IMAGE = 0.999


class CohortError(ValueError):
    """A cohort cannot be used. Attribute `report`: DataFrame (case, file, problem, action)."""

    def __init__(self, report: pd.DataFrame):
        self.report = report
        lines = [f"{row.case}: {row.problem} [{row.file}] -> {row.action}" for row in report.itertuples()]
        text = f"{len(lines)} problem(s) in {report['case'].nunique()} case(s):\n  " + "\n  ".join(lines[:50])
        if len(lines) > 50:
            text += f"\n  ... and {len(lines) - 50} more, all in the attribute `report` of this error"
        super().__init__(text)


# ------------------------------------------------------------------------------- tables


def write_csv(table: pd.DataFrame, path) -> None:
    """Write a cohort; paths below the folder of the csv become relative to it."""
    root = Path(path).parent.resolve()

    def relative(value):
        if not _given(value):
            return ""
        full = Path(os.path.abspath(value))
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else str(full)

    table = table.assign(**{name: table[name].map(relative) for name in PATHS if name in table})
    with replacing(path) as partial:
        table.to_csv(partial, index=False)


def read_csv(path) -> pd.DataFrame:
    """Read a cohort; relative paths are taken from the folder of the csv.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, no table, a column is missing (case, t1 and flair are needed), or a case
        is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a cohort table (csv)")
    try:
        table = pd.read_csv(path, dtype={name: str for name in COLUMNS if name != "synthetic"})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error

    def absolute(value):
        return os.path.abspath(path.parent / value) if _given(value) else ""

    for name in PATHS:
        if name in table:
            table[name] = table[name].map(absolute)
    return as_table(table, str(path))


def as_table(rows, source: str) -> pd.DataFrame:
    """A cohort table with all columns in order, from rows or from a table."""
    table = pd.DataFrame(rows)
    if table.empty:
        raise ValueError(f"{source}: no case found")
    missing = [name for name in ("case", "t1", "flair") if name not in table]
    if missing:
        raise ValueError(f"{source} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}")
    defaults = {"database": "other", "patient": table["case"], "synthetic": False}
    for name in COLUMNS:
        if name not in table:
            table[name] = defaults.get(name, "")
    for name in COLUMNS[:-1]:
        table[name] = table[name].fillna("").astype(str)
    table["synthetic"] = table["synthetic"].map(lambda value: str(value).lower() in ("true", "1", "1.0"))
    bad = [case for case in table["case"] if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", case)]
    if bad:
        raise ValueError(f"{source}: case {bad[0]!r} cannot name a file; use letters, digits, - and _")
    twice = table["case"][table["case"].duplicated()].unique()
    if len(twice):
        raise ValueError(f"{source}: case {', '.join(twice)} is there more than once; give each case its own name")
    return table[COLUMNS + [name for name in table if name not in COLUMNS]].reset_index(drop=True)


def _given(value) -> bool:
    return isinstance(value, (str, Path)) and str(value) != ""


def credit(row: Mapping) -> str:
    """Where a case is from, for below a picture of it: licence and citation, or synthetic."""
    if row.get("synthetic"):
        return f"{row['case']}: synthetic"
    given = [text for text in (row.get("licence"), row.get("citation")) if _given(text)]
    return f"{row['case']}: {'. '.join(given) or 'real, source unknown'}"


# ------------------------------------------------------------------------------- readers


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
            "case": match["case"], "patient": match["patient"], "database": "other",
            "t1": _file(f"{stem}_T1w"), "flair": _file(f"{stem}_FLAIR"),
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
            "patient": match["id"], "database": "MICCAI17", "site": site,
            "t1": _file(file.parent / "T1"), "flair": str(file), "lesion": _file(case / "wmh"),
            "brainmask": _file(case / "brainmask", optional=True),
            "lesion_rule": "label > 0" if merge_other else "label 1",
        }

    sites = "Utrecht|Singapore|GE3T|GE1T5|Philips[^/]*"
    pattern = rf"/(?P<site>{sites})/(?P<id>[^/]+)/(?P<kind>pre|orig)/FLAIR"
    return _read(folder, pattern, row, "<site>/<id>/pre/FLAIR.nii.gz", lambda file: file.parent.name != "pre")


#: Short names of the MICCAI17 scanners, for the case.
SITE_CODES = {"Utrecht": "utr", "Singapore": "sing", "GE3T": "ge3t", "GE1T5": "ge1t5", "Philips": "petmr"}


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
            "case": f"sub-ms15p{match['id']}", "patient": match["id"], "database": "MS15", "site": "JHU",
            "t1": _file(file.parent / f"training{match['id']}_{match['time']}_mprage_pp"), "flair": str(file),
            "lesion": mask("1" if both else raters), "lesion2": mask("2") if both else "",
            "lesion_rule": raters if both else "label > 0",
        }

    pattern = r"/training(?P<id>\d+)_(?P<time>\d+)_flair_pp"
    return _read(folder, pattern, row, "training01/preprocessed/training01_01_flair_pp.nii")


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
            "case": f"sub-ms16c{match['site']}p{match['id']}", "patient": f"{match['site']}-{match['id']}",
            "database": "MS16", "site": match["site"],
            "t1": _file(file.parent / "T1_preprocessed"), "flair": str(file),
            "lesion": _file(masks / "Consensus"), "brainmask": _file(masks / "Brain_Mask", optional=True),
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
            "case": f"sub-ms17p{match['id']}", "patient": match["id"],
            "database": "MS17", "site": "Ljubljana", "flair": str(file),
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

    pattern = r"(?<!/raw)/patient(?P<id>\d+)/(?P<prefix>patient\d+_)?FLAIR(_N4_\w*_regtoMNI)?"
    return _read(folder, pattern, row, "patient01/patient01_FLAIR.nii.gz")


def _read(folder, pattern: str, row: Callable, example: str, order: Callable | None = None) -> pd.DataFrame:
    """One row for each case with a NIfTI file below `folder` whose path matches `pattern`.

    Where several files give the same case, the first one in the order of `order`, then of the
    path, counts.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one with {example}")
    folder = folder.resolve()
    files = sorted(file for file in folder.rglob("*.nii*") if not file.name.startswith("."))
    rows: dict[str, dict] = {}
    for file in sorted(files, key=order) if order else files:
        match = re.search(pattern + r"\.nii(\.gz)?$", file.as_posix())
        if match:
            found = row(file, match)
            rows.setdefault(found["case"], found)
    if not rows:
        raise ValueError(f"{folder}: no case found; expected files like {example}")
    return as_table([rows[case] for case in sorted(rows)], str(folder))


def _file(stem, optional: bool = False) -> str:
    """Path of `stem`.nii.gz or .nii; if neither exists, the first name, or empty if optional."""
    for end in (".nii.gz", ".nii"):
        if os.path.exists(f"{stem}{end}"):
            return f"{stem}{end}"
    return "" if optional else f"{stem}.nii.gz"


# ------------------------------------------------------------------------------- images


def load(path) -> nib.spatialimages.SpatialImage:
    """Read a whole 3-D NIfTI image, with its voxels, to its last byte.

    A fourth axis of length 1 is dropped, as many programs write one; a longer one is refused.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is empty, truncated, damaged, not NIfTI, or not one 3-D image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    content = path.read_bytes()
    if not content:
        raise ValueError(f"{path} is empty (0 bytes); get the file again")
    try:
        if path.suffix == ".gz":
            # To the end, where gzip keeps its checksum; nibabel alone may stop before it.
            content = gzip.decompress(content)
        second = content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # length of the NIfTI-2 header, 540
        kind = nib.Nifti2Image if second else nib.Nifti1Image
        image = kind.from_bytes(content)
        array = np.asanyarray(image.dataobj)
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = "is damaged, or not compressed although named .gz"
        raise ValueError(f"{path} {problem} ({error}); get the file again") from error
    except (EOFError, OSError) as error:
        raise ValueError(f"{path} is truncated ({error}); get the file again") from error
    except Exception as error:  # nibabel raises many kinds
        raise ValueError(f"{path} is not a NIfTI image ({error}); convert it, or get the file again") from error
    if array.ndim > 3 and np.prod(array.shape[3:]) == 1:
        array = array.reshape(array.shape[:3])
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "buif":
        raise ValueError(
            f"{path} has shape {array.shape} and type {array.dtype}; expected one 3-D image of numbers "
            "(choose one volume of a series)"
        )
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:
        raise ValueError(f"{path} says in its header that its voxels have no volume; correct its affine")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    plain = kind(array, image.affine)
    copy_codes(plain, image)
    plain.set_filename(str(path))
    return plain


def copy_codes(image, source) -> None:
    """Give an image the sform and qform of another on the same grid, with what their codes say they mean."""
    for form in ("qform", "sform"):
        try:
            matrix, code = getattr(source, f"get_{form}")(coded=True)
            getattr(image, f"set_{form}")(matrix, int(code))
        except (ValueError, nib.spatialimages.HeaderDataError):
            continue  # a quaternion that is a little off; the other form says where the voxels lie


def load_lesion(row: Mapping) -> nib.Nifti1Image:
    """Read the lesion mask of a row of a cohort: uint8, 0 and 1, on the mask's own grid.

    The column `lesion_rule` says what is lesion:

    - empty: the mask has two values, 0 and another one, which is lesion;
    - ``label 1``: voxels with the value 1 (MICCAI17);
    - ``label > 0``: voxels with any value above 0 (the paper's code);
    - ``union``, ``intersection``: `lesion` and `lesion2` are two raters' masks (MS15).

    Raises
    ------
    FileNotFoundError, ValueError
        The mask cannot be read, or has values that the rule does not know.
    """
    rule = row.get("lesion_rule")
    rule = rule if _given(rule) else ""
    image = load(row["lesion"])
    mask = binary(np.asanyarray(image.dataobj), row["lesion"], rule)
    if rule in ("union", "intersection"):
        second = load(row["lesion2"])
        difference = apart(second, image)
        if difference:
            raise ValueError(f"{row['lesion2']} and {row['lesion']} are on different grids ({difference})")
        combine = np.logical_or if rule == "union" else np.logical_and
        mask = combine(mask, binary(np.asanyarray(second.dataobj), row["lesion2"]))
    result = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    result.set_filename(str(row["lesion"]))
    return result


def binary(array: np.ndarray, name, rule: str = "") -> np.ndarray:
    """What is lesion in the voxels of a mask (bool).

    Parameters
    ----------
    array : array (x, y, z)
    name : str or path
        What the mask is called in errors.
    rule : str
        See `load_lesion`.

    Raises
    ------
    ValueError
        The mask has values that the rule does not know.
    """
    if rule == "label 1":
        return array == 1
    if rule == "label > 0":
        return array > 0
    if rule not in ("", "union", "intersection"):
        known = "empty, 'label 1', 'label > 0', 'union' or 'intersection'"
        raise ValueError(f"lesion_rule {rule!r} is unknown; expected {known}")
    top = array.max()
    if not ((array == 0) | (array == top)).all() or top < 0:
        few = ", ".join(f"{value:g}" for value in np.unique(array)[:6])
        raise ValueError(
            f"{name} has the values {few}...; expected a mask of 0 and one other value "
            "(threshold a probability map; of a mask of several labels give the lesions alone, or, in a cohort table, "
            "say in the column lesion_rule which label is lesion)"
        )
    return array > 0


def resample_to(image, reference, order: int = 1) -> nib.Nifti1Image:
    """Put an image onto the grid of another one, trusting both headers.

    Parameters
    ----------
    image, reference : nibabel image or path
        What is resampled, and the image whose grid it gets.
    order : {0, 1, 3}
        0 (nearest voxel) for masks, which keep their type; 1 (linear) or 3 (cubic) for images.
    """
    from nilearn.image import resample_to_img

    names = {0: "nearest", 1: "linear", 3: "cubic"}
    if order not in names:
        raise ValueError(f"order must be 0, 1 or 3, got {order}")
    image, reference = (i if hasattr(i, "affine") else load(i) for i in (image, reference))
    return resample_to_img(image, reference, interpolation=names[order], force_resample=True, copy_header=True)


def apart(image, reference) -> str:
    """How the grids of two images differ, as words; empty if voxels lie within a tenth of a voxel."""
    if image.shape[:3] != reference.shape[:3]:
        return f"shapes {image.shape[:3]} and {reference.shape[:3]}"
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in reference.shape[:3]], [1]))).T
    distance = np.abs((image.affine - reference.affine) @ corners).max()
    smallest = nib.affines.voxel_sizes(reference.affine).min()
    return f"voxels lie up to {distance:.2f} mm apart" if not distance <= GRID_TOLERANCE * smallest else ""


# ------------------------------------------------------------------------------- checks


def check(table: pd.DataFrame, on_bad: str = "refuse") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every case before work starts; one report of all problems.

    One case is in memory at a time, plus 8 kB for each image that was seen.

    Parameters
    ----------
    table : DataFrame
        A cohort.
    on_bad : {'refuse', 'leave out'}
        With 'leave out', the cases without a problem come back.

    Returns
    -------
    table, report : DataFrame
        The good cases, and one row per problem (case, file, problem, action).

    Raises
    ------
    CohortError
        There are problems and `on_bad` is 'refuse', or no case is left.
    """
    if on_bad not in ("refuse", "leave out"):
        raise ValueError(f"on_bad must be 'refuse' or 'leave out', got {on_bad!r}")
    table = as_table(table, "cohort")
    problems: list[dict] = []
    seen: dict[str, tuple] = {}
    for row in table.to_dict("records"):
        images: dict = {}
        problems += case_problems(row, images)
        for name in ("t1", "flair"):
            if name in images:
                problems += _seen_before(row, name, images[name], seen)
    report = pd.DataFrame(problems, columns=["case", "file", "problem", "action"])
    good = table[~table["case"].isin(report["case"])].reset_index(drop=True)
    if len(report) and (on_bad == "refuse" or good.empty):
        raise CohortError(report)
    return good, report


def case_problems(row: Mapping, images: dict | None = None) -> list[dict]:
    """Check one case.

    Parameters
    ----------
    row : Mapping
        A row of a cohort.
    images : dict, optional
        Is filled with the images that were read.

    Returns
    -------
    list of dict
        case, file, problem, action; empty if the case is good.
    """
    images = {} if images is None else images
    problems: list[dict] = []

    def add(name: str, problem: str, action: str) -> None:
        problems.append({"case": row["case"], "file": str(row.get(name, "")), "problem": problem, "action": action})

    for name, label in NAMES.items():
        if not _given(row.get(name)):
            if name in ("t1", "flair"):
                add(name, f"no {label} given", "give its path in the cohort table")
            continue
        try:
            images[name] = load_lesion(row) if name == "lesion" else load(row[name])
        except FileNotFoundError as error:
            add(name, f"{label} is missing: {error}", "correct the path, or get the file")
        except (OSError, ValueError, KeyError) as error:
            add(name, f"{label}: {error}", "replace the file")

    for name in ("t1", "flair"):
        if name in images:
            problem = _image_problem(np.asanyarray(images[name].dataobj))
            if problem:
                add(name, f"{NAMES[name]} {problem}", "replace the file")
    flair = images.get("flair")
    if flair is None:
        return problems
    grids = {name: apart(images[name], flair) for name in images}
    for name in ("t1", "brainmask"):
        if grids.get(name):
            add(name, f"{NAMES[name]} is not on the grid of the FLAIR ({grids[name]})", RESAMPLE)

    array = np.nan_to_num(np.asanyarray(flair.dataobj))
    given = "brainmask" in images and not grids["brainmask"]
    brain = (np.asanyarray(images["brainmask"].dataobj) if given else array) > 0
    if not brain.any():
        name = "brainmask" if given else "flair"
        add(name, f"no brain: no voxel of the {NAMES[name]} is above 0", "replace the file")
    elif "lesion" in images:
        for problem, action in lesion_problems(images["lesion"], flair, array, brain):
            add("lesion", f"lesion mask {problem}", action)
    return problems


def _image_problem(array: np.ndarray) -> str:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        return f"has {bad} NaN or infinite voxels"
    return f"is constant ({array.flat[0]:g})" if array.min() == array.max() else ""


RESAMPLE = "register it, or, if both headers are right, resample it (wmhqc qc --resample; cohort.resample_to)"
WHOSE = "is it mirrored, shifted, or another patient's mask?"


def lesion_problems(lesion, flair, array: np.ndarray, brain: np.ndarray) -> list[tuple[str, str]]:
    """Problems of a mask that has been read, as (problem, action)."""
    mask = np.asanyarray(lesion.dataobj) > 0
    if not mask.any():
        return [("is empty", "give no lesion mask if nobody drew lesions")]
    difference = apart(lesion, flair)
    if difference:
        # Which header is wrong? Judge both readings of the same voxels.
        by_header = np.asanyarray(resample_to(lesion, flair, order=0).dataobj) > 0
        values = [f"{contrast(by_header, array, brain, flair.affine):.2f} where its header puts it"]
        if mask.shape == array.shape:
            values.append(f"{contrast(mask, array, brain, flair.affine):.2f} with the header of the FLAIR")
        read = f"contrast {', '.join(values)} (right: above 0.9)"
        return [(f"is not on the grid of the FLAIR ({difference}); {read}", RESAMPLE)]

    problems = []
    outside = np.count_nonzero(mask & ~brain) / np.count_nonzero(mask)
    if outside > MAX_OUTSIDE:
        problems.append((f"is outside the brain by {outside:.0%}", WHOSE))
    around = surroundings(mask, flair.affine)
    value = _brighter(array, brain, mask, around)
    flips = {axes: _brighter(array, brain, mask, around, axes) for axes in FLIPS}
    axes = max(flips, key=lambda axes: np.nan_to_num(flips[axes]))
    if flips[axes] >= MIN_CONTRAST and flips[axes] > np.nan_to_num(value):
        names = " and ".join("xyz"[axis] for axis in axes)
        better = f"contrast {flips[axes]:.2f} instead of {value:.2f}"
        problems.append((f"fits the FLAIR better when mirrored along {names} ({better})", WHOSE))
    elif value < MIN_CONTRAST:
        faint = f"contrast {value:.2f}, right: above 0.9"
        problems.append((f"is not brighter than its surroundings on FLAIR ({faint})", WHOSE))
    return problems


#: All ways to mirror a volume along its axes.
FLIPS = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]


def contrast(mask: np.ndarray, flair: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> float:
    """How surely a lesion voxel is brighter on FLAIR than one of its surroundings.

    The probability that a random voxel of the mask is brighter than a random voxel of the
    brain 2 to 6 mm away from it (area under the ROC curve): 0.5 for a mask that has nothing to
    do with the image, 1 for a perfect one. It depends neither on the scale of the intensities
    nor on slow changes over the image.

    Parameters
    ----------
    mask, flair, brain : array (x, y, z)
        Lesion mask (bool), FLAIR, brain mask (bool), on one grid.
    affine : array (4, 4)

    Returns
    -------
    float
        0 to 1; NaN if there is no surrounding.
    """
    mask = np.asarray(mask) > 0
    return _brighter(flair, brain, mask, surroundings(mask, affine)) if mask.any() else float("nan")


def surroundings(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxels 2 to 6 mm away from the mask (bool)."""
    from scipy import ndimage

    near, far = SURROUNDINGS_MM
    sizes = nib.affines.voxel_sizes(affine)
    margins = (far / sizes).astype(int) + 1
    box = tuple(slice(max(0, i.min() - m), i.max() + m + 1) for i, m in zip(np.nonzero(mask), margins))
    distance = ndimage.distance_transform_edt(~mask[box], sampling=sizes)
    around = np.zeros(mask.shape, bool)
    around[box] = (distance >= near) & (distance <= far)
    return around


def _brighter(flair: np.ndarray, brain: np.ndarray, mask: np.ndarray, around: np.ndarray, flip: tuple = ()) -> float:
    """Area under the ROC curve of FLAIR in the mask against around it, both mirrored along `flip`."""
    from scipy.stats import mannwhitneyu

    def values(region: np.ndarray) -> np.ndarray:
        places = list(np.nonzero(region))
        for axis in flip:
            places[axis] = region.shape[axis] - 1 - places[axis]
        places = tuple(places)
        return flair[places][np.asarray(brain)[places] > 0]

    inside, outside = values(mask), values(around)
    if not inside.size or not outside.size:
        return float("nan")
    return float(mannwhitneyu(inside, outside, method="asymptotic").statistic / inside.size / outside.size)


def _seen_before(row: Mapping, name: str, image, seen: dict) -> list[dict]:
    """Is this image already there under another name? (It would leak from training to test.)

    Of each image 1,000 voxels are kept, at the same places after turning it to RAS+, and
    standardised: a copy is found even when it was turned, rescaled, rounded or compressed anew.
    """
    array = np.asanyarray(nib.as_closest_canonical(image).dataobj)
    places = np.random.default_rng(0).integers(0, array.shape, (1000, 3))
    sample = np.maximum(np.nan_to_num(array[tuple(places.T)].astype(np.float64), posinf=0), 0)
    sample -= sample.mean()
    sample /= max(np.linalg.norm(sample), 1e-12)
    same = [key for key, (shape, other) in seen.items() if shape == array.shape and other @ sample > SAME_IMAGE]
    seen[f"{NAMES[name]} of {row['case']}"] = (array.shape, sample)
    return [{
        "case": row["case"], "file": str(row[name]), "problem": f"{NAMES[name]} is the same image as {key}",
        "action": "keep one of the two, or training and test would share it",
    } for key in same[:1]]


# ------------------------------------------------------------------------------- facts


def add_facts(table: pd.DataFrame) -> pd.DataFrame:
    """Add voxel_x, voxel_y, voxel_z (mm), lesion_ml, brain_ml and lesion_percent (of the brain).

    The brain is the brain mask, or without one where T1 > 0 (as in the paper). NaN where there
    is no lesion mask.
    """
    return table.assign(**pd.DataFrame([_facts(row) for row in table.to_dict("records")], index=table.index))


def _facts(row: Mapping) -> dict:
    flair = nib.load(row["flair"])
    sizes = nib.affines.voxel_sizes(flair.affine)
    ml = float(np.prod(sizes)) / 1000
    brain = load(row["brainmask"] if _given(row.get("brainmask")) else row["t1"])
    brain_ml = ml * np.count_nonzero(np.asanyarray(brain.dataobj) > 0)
    lesion_ml = float("nan")
    if _given(row.get("lesion")):
        lesion_ml = ml * np.count_nonzero(load_lesion(row).dataobj)
    return {
        **dict(zip(("voxel_x", "voxel_y", "voxel_z"), sizes.round(4).tolist())),
        "lesion_ml": lesion_ml, "brain_ml": brain_ml,
        "lesion_percent": 100 * lesion_ml / brain_ml if brain_ml else float("nan"),
    }
