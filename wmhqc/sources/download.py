"""Real patients that can be downloaded: MS17, fixed by commit and checksum.

The public release of Lesjak et al. (2017) in the repository github.com/muschellij2/open_ms_data:
30 patients, FLAIR, T1 and consensus lesion mask, in MNI space, without skull. The file
``data/ms17_manifest.tsv`` names each file and the SHA-1 that git gives its content.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import cohort
from wmhqc.files import replacing
from wmhqc.images import load_image
from wmhqc.sources import layouts

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
            "Bashiri Bawil et al.: MS3SEG. Scientific Data (2026), arXiv:2506.07123, doi:10.6084/m9.figshare.30393475"
        ),
    },
}

COMMIT = "65704901f60650824565aa5a4818611aa89716f4"
MS17_URL = f"https://raw.githubusercontent.com/muschellij2/open_ms_data/{COMMIT}/"
MANIFEST = Path(__file__).parents[1] / "data" / "ms17_manifest.tsv"
#: A server slower than this (bytes per second) counts as out of order.
MIN_SPEED = 10_000
ATTEMPTS = 3
#: Seconds before the second attempt, twice as many before the third.
PAUSE = 0.5


class MissingFile(FileNotFoundError):
    """The server or mirror answers, but does not have the file."""


def fetch_ms17(
    folder=None,
    patients: Iterable[str | int] | None = None,
    base_url: str | None = None,
    progress: bool = True,
    timeout: float = 10,
    missing: str = "refuse",
) -> pd.DataFrame:
    """Download MS17 (about 250 MB for all patients); what is already there is only verified.

    A file gets its name only after its checksum was right, so this can be killed at any point
    and started again, and several processes may do it at once. The release has no brain masks;
    they are derived from its skull-stripped images.

    Parameters
    ----------
    folder : path, optional
        Where to keep the files: ``<folder>/sub-ms17pXX/sub-ms17pXX_T1w.nii.gz`` and so on.
        Else the environment variable WMHQC_DATA, else the user's cache folder.
    patients : iterable, optional
        Patients from 1 to 30; all if not given.
    base_url : str, optional
        Where the repository's files are (http:, https: or file:). Else the environment
        variable WMHQC_MS17_URL, else the public address.
    progress : bool
        Show a progress bar.
    timeout : float
        Seconds to wait for an answer.
    missing : {'refuse', 'skip'}
        What to do with patients that the address does not have.

    Returns
    -------
    DataFrame
        Cohort table with the columns licence and citation.

    Raises
    ------
    ConnectionError
        No connection, or the server is slow, breaks off or sends damaged files.
    FileNotFoundError
        The address does not have a file.
    OSError
        The files cannot be written (disk full).
    """
    from tqdm import tqdm

    if missing not in ("refuse", "skip"):
        raise ValueError(f"missing must be 'refuse' or 'skip', got {missing!r}")
    folder, base_url = _folder(folder), _base(base_url)
    manifest = _manifest(patients)
    absent: list[str] = []
    with tqdm(total=len(manifest), desc="MS17", unit="file", disable=not progress) as bar:
        for patient, files in manifest.groupby("patient"):
            try:
                for file in files.itertuples():
                    _fetch(base_url + file.path, _path(folder, patient, file.file), file.sha1, timeout)
                    bar.update()
            except MissingFile:
                if missing == "refuse":
                    raise
                absent.append(patient)
                continue
            _brain_mask(folder, patient)
    if absent:
        count = f"{len(absent)} of {manifest['patient'].nunique()} patients"
        warnings.warn(f"{base_url} does not have {count}: {', '.join(absent)}", stacklevel=2)
    return _table(folder, [patient for patient in manifest["patient"].unique() if patient not in absent])


def try_ms17(
    folder=None, patients=None, base_url: str | None = None, progress: bool = True, timeout: float = 5
) -> tuple[pd.DataFrame, str]:
    """`fetch_ms17` for a build that goes on without the data.

    Returns
    -------
    table : DataFrame
        The patients that could be had, also those already on the disk; perhaps none.
    reason : str
        Why patients are missing; empty if none is.
    """
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            table = fetch_ms17(folder, patients, base_url, progress, timeout, missing="skip")
        return table, "; ".join(str(note.message) for note in notes)
    except OSError as error:
        there = _folder(folder)
        whole = [patient for patient, files in _manifest(patients).groupby("patient") if _whole(there, patient, files)]
        return _table(there, whole), str(error)


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
        tables.append(_sources(layouts.from_folder(folder)))
    if ms17:
        fetched, reason = try_ms17(progress=progress, timeout=timeout)
        if reason:
            messages.append(f"MS17 is not complete: {reason}")
        if len(fetched):
            tables.append(fetched)
    if not tables:
        return _table(Path(), []), " ".join(messages)
    # The folder may hold MS17 patients too, under the same names.
    table = pd.concat(tables, ignore_index=True).drop_duplicates("case").reset_index(drop=True)
    return table, " ".join(messages)


def odd_scans() -> pd.DataFrame:
    """Real scans of another kind, where the folder of `real_patients` has them beside its own.

    ``data/ood`` holds another disease, ``data/wholehead`` heads with their skull.

    Returns
    -------
    DataFrame
        Cohort table; perhaps empty.
    """
    folder = _shared()
    beside = [folder.parent / kind for kind in ("ood", "wholehead")] if folder else []
    tables = [layouts.from_folder(path) for path in beside if path.is_dir()]
    return pd.concat(tables, ignore_index=True) if tables else _table(Path(), [])


def _shared() -> Path | None:
    places = [Path.cwd().parent / "shared", Path(__file__).resolve().parents[3] / "shared"]
    if os.environ.get("WMHQC_SHARED"):
        places = [Path(os.environ["WMHQC_SHARED"])]
    return next((place / "data" / "real" for place in places if (place / "data" / "real").is_dir()), None)


def _sources(table: pd.DataFrame) -> pd.DataFrame:
    """Fill database, site, patient, licence and citation of patients whose name says where they are from."""
    known = {"sub-ms17p": ("MS17", "Ljubljana", "MS17"), "sub-tab": ("other", "Tabriz", "Tabriz")}
    rows = table.to_dict("records")
    for row in rows:
        row |= {"licence": "", "citation": ""}
        for prefix, (database, site, source) in known.items():
            if row["case"].startswith(prefix):
                row |= {"database": database, "site": site, "patient": row["case"].removeprefix(prefix)}
                row |= SOURCES[source]
    return pd.DataFrame(rows, columns=[*table.columns, "licence", "citation"])


# ------------------------------------------------------------------------------- MS17


def _folder(folder) -> Path:
    import pooch

    return Path(folder or os.environ.get("WMHQC_DATA") or pooch.os_cache("wmhqc")).expanduser() / "ms17"


def _base(base_url: str | None) -> str:
    base_url = base_url or os.environ.get("WMHQC_MS17_URL") or MS17_URL
    if urlsplit(base_url).scheme not in ("http", "https", "file"):
        raise ValueError(f"the address of MS17 must begin with http:, https: or file:, got {base_url!r}")
    return base_url.rstrip("/") + "/"


def _manifest(patients=None) -> pd.DataFrame:
    manifest = pd.read_csv(MANIFEST, sep="\t", comment="#", dtype=str)
    if patients is None:
        return manifest
    wanted = [f"{int(patient):02d}" for patient in patients]
    unknown = sorted(set(wanted) - set(manifest["patient"]))
    if unknown:
        raise ValueError(f"MS17 has the patients 1 to 30, not {', '.join(unknown)}")
    return manifest[manifest["patient"].isin(wanted)]


def _path(folder: Path, patient: str, file: str) -> Path:
    case = f"sub-ms17p{patient}"
    return folder / case / f"{case}_{file}.nii.gz"


def _table(folder: Path, patients: list[str]) -> pd.DataFrame:
    files = {"t1": "T1w", "flair": "FLAIR", "lesion": "lesion", "brainmask": "brainmask"}
    rows = [
        {"case": f"sub-ms17p{patient}", "lesion_rule": "", "lesion2": "", "synthetic": False}
        | {column: str(_path(folder, patient, file)) for column, file in files.items()}
        for patient in patients
    ]
    return _sources(pd.DataFrame(rows, columns=cohort.COLUMNS))


def _whole(folder: Path, patient: str, files: pd.DataFrame) -> bool:
    """All files of a patient are there, the brain mask too."""
    whole = all(_verified(_path(folder, patient, file.file), file.sha1) for file in files.itertuples())
    return whole and _path(folder, patient, "brainmask").exists()


def _brain_mask(folder: Path, patient: str) -> None:
    """Write the brain mask of a patient beside the images: T1 and FLAIR > 0, holes filled."""
    from scipy import ndimage

    path = _path(folder, patient, "brainmask")
    if path.exists():
        return
    flair = load_image(_path(folder, patient, "FLAIR"))
    t1 = load_image(_path(folder, patient, "T1w"))
    brain = (np.asanyarray(flair.dataobj) > 0) & (np.asanyarray(t1.dataobj) > 0)
    brain = ndimage.binary_fill_holes(brain).astype(np.uint8)
    try:
        with replacing(path) as partial:
            nib.save(nib.Nifti1Image(brain, flair.affine), partial)
    except OSError as error:
        raise _write_error(error, path) from error


# ------------------------------------------------------------------------------- one file


def git_sha1(path) -> str:
    """SHA-1 that git gives the content of a file (of ``blob <size>\\0<content>``)."""
    content = Path(path).read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _verified(path: Path, sha1: str) -> bool:
    return path.is_file() and git_sha1(path) == sha1


def _fetch(url: str, path: Path, sha1: str, timeout: float) -> None:
    """Bring one file to `path`, unless it is there and whole."""
    import pooch

    if _verified(path, sha1):
        return
    path.unlink(missing_ok=True)  # damaged
    for leftover in [*path.parent.glob("tmp*"), *path.parent.glob(".*")]:  # of a process that was killed
        if time.time() - leftover.stat().st_mtime > 3600:
            leftover.unlink(missing_ok=True)

    def download(url: str, partial: str, _) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _transfer(url, partial, timeout)
                if git_sha1(partial) == sha1:
                    os.chmod(partial, 0o644)
                    return
                problem = "what arrived is truncated or damaged (wrong checksum)"
            except _Broken as error:
                problem = str(error)
            if attempt < ATTEMPTS:
                time.sleep(PAUSE * attempt)
        raise ConnectionError(f"{url}: {problem}, {ATTEMPTS} times; {ADVICE}")

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        # pooch writes under a temporary name of its own and renames when `download` is done.
        pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, downloader=download)
    except (ConnectionError, MissingFile):
        raise
    except OSError as error:
        raise _write_error(error, path) from error
    finally:
        logger.setLevel(level)


ADVICE = "check the network, or give another address (WMHQC_MS17_URL)"


class _Broken(Exception):
    """A transfer that may work when tried again."""


def _transfer(url: str, partial: str, timeout: float) -> None:
    """Copy what is at `url` into a file; in bounded time."""
    if urlsplit(url).scheme == "file":
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise MissingFile(f"{source} does not exist; is the address of MS17 (WMHQC_MS17_URL) right?")
        shutil.copyfile(source, partial)
        return
    import requests
    import urllib3

    start, size = time.monotonic(), 0
    try:
        with requests.get(url, stream=True, timeout=timeout, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code in (404, 410):
                raise MissingFile(f"{url} does not exist; is the address of MS17 (WMHQC_MS17_URL) right?")
            if answer.status_code != 200:
                raise _Broken(f"the server answers {answer.status_code} {answer.reason}")
            with open(partial, "wb") as file:
                # read1 gives what is there; read would wait for a whole block of a slow server.
                while block := answer.raw.read1(2**16):
                    file.write(block)
                    size += len(block)
                    seconds = time.monotonic() - start
                    if seconds > timeout and size < MIN_SPEED * seconds:
                        speed = f"{size} bytes in {seconds:.0f} s"
                        raise ConnectionError(f"{url}: the server is too slow ({speed}); {ADVICE}")
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise ConnectionError(f"{url}: no answer within {timeout:g} s; {ADVICE}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionResetError) as error:
        if size or isinstance(error, ConnectionResetError) or "Connection aborted" in str(error):
            raise _Broken(f"the connection broke off after {size} bytes") from error
        server = urlsplit(url).netloc
        raise ConnectionError(f"no connection to {server} ({type(error).__name__}); {ADVICE}") from error


def _write_error(error: OSError, path: Path) -> OSError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = "the disk is full" if full else error.strerror or str(error)
    advice = "free space, or choose another folder (WMHQC_DATA), and start again"
    return OSError(error.errno, f"cannot write {path}: {why}; {advice}")
