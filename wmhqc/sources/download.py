"""Real patients that can be downloaded: MS17, fixed by commit and checksum.

The public release of Lesjak et al. (2017) in the repository github.com/muschellij2/open_ms_data:
30 patients, FLAIR, T1 and consensus lesion mask, in MNI space, without skull. The file
``data/ms17_manifest.tsv`` names each file and the SHA-1 that git gives its content, and
the SHA-256 of those that were at hand.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import shutil
import tempfile
import threading
import time
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

COMMIT = "65704901f60650824565aa5a4818611aa89716f4"
MS17_URL = f"https://raw.githubusercontent.com/muschellij2/open_ms_data/{COMMIT}/"
MANIFEST = Path(__file__).parents[1] / "data" / "ms17_manifest.tsv"
#: A file may take so many times as long as an answer: 4 MB in five minutes.
PATIENCE = 30
#: After the first attempt.
RETRIES = 2
#: Bytes; the largest file at hand has 4 MB.
MAX_SIZE = 2**24
#: What is not complete lies in folders that begin so, beside the patient's files.
PARTIAL = ".wmhqc-partial-"
ADVICE = "check the network, and the address of MS17 (WMHQC_MS17_URL)"


class MissingFile(FileNotFoundError):
    """The server or mirror answers, but does not have the file."""


def fetch_ms17(
    folder=None,
    patients: Iterable[str | int] | None = None,
    base_url: str | None = None,
    progress: bool = True,
    timeout: float = 10,
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
        Seconds to wait for an answer; a file may take 30 times as long.

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
    folder, base_url, manifest = _folder(folder), _base(base_url), _manifest(patients)
    for patient, files in _each(manifest, progress):
        _fetch_patient(folder, patient, files, base_url, timeout)
    return _table(folder, manifest["patient"].unique())


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
    folder, base_url, manifest = _folder(folder), _base(base_url), _manifest(patients)
    found, absent, reason = [], [], ""
    for patient, files in _each(manifest, progress):
        try:
            if not reason:  # else nobody is asked again, but what is there is used
                _fetch_patient(folder, patient, files, base_url, timeout)
        except MissingFile:
            absent.append(patient)
        except OSError as error:
            reason = str(error)
        if _whole(folder, patient, files):
            found.append(patient)
    if absent and not reason:
        count = f"{len(absent)} of {manifest['patient'].nunique()} patients"
        reason = f"{shown(base_url)} does not have {count}: {', '.join(absent)}"
    return _table(folder, found), reason


# ------------------------------------------------------------------------------- one patient


def _each(manifest: pd.DataFrame, progress: bool):
    """Patients and their files, with a progress bar."""
    from tqdm import tqdm

    return tqdm(list(manifest.groupby("patient")), desc="MS17", unit="patient", disable=not progress)


def _fetch_patient(folder: Path, patient: str, files: pd.DataFrame, base_url: str, timeout: float) -> None:
    for file in files.itertuples():
        _fetch(base_url + file.path, _path(folder, patient, file.file), file, timeout)
    _brain_mask(folder, patient)


def _folder(folder) -> Path:
    import pooch

    return Path(folder or os.environ.get("WMHQC_DATA") or pooch.os_cache("wmhqc")).expanduser() / "ms17"


def _base(base_url: str | None) -> str:
    base_url = base_url or os.environ.get("WMHQC_MS17_URL") or MS17_URL
    if urlsplit(base_url).scheme not in ("http", "https", "file"):
        raise ValueError(f"the address of MS17 must begin with http:, https: or file:, got {shown(base_url)!r}")
    return base_url.rstrip("/") + "/"


def _manifest(patients=None) -> pd.DataFrame:
    manifest = pd.read_csv(MANIFEST, sep="\t", comment="#", dtype=str, keep_default_na=False)
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
    return layouts.with_licences(pd.DataFrame(rows, columns=cohort.COLUMNS))


def _whole(folder: Path, patient: str, files: pd.DataFrame) -> bool:
    """All files of a patient are there, the brain mask too."""
    whole = all(_verified(_path(folder, patient, file.file), file) for file in files.itertuples())
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


def git_sha1(content: bytes) -> str:
    """SHA-1 that git gives the content of a file (of ``blob <size>\\0<content>``)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _verified(path: Path, file) -> bool:
    """Is the file there, and has it the checksums of its row of the manifest?"""
    if not path.is_file() or path.stat().st_size > MAX_SIZE:
        return False
    content = path.read_bytes()
    return git_sha1(content) == file.sha1 and file.sha256 in ("", hashlib.sha256(content).hexdigest())


def _fetch(url: str, path: Path, file, timeout: float) -> None:
    """Bring one file to `path`, unless it is there and whole."""
    import pooch
    import requests

    if _verified(path, file):
        return

    def download(url: str, partial: str, _) -> None:
        _transfer(url, partial, timeout)
        if not _verified(Path(partial), file):
            raise ValueError("what arrived is truncated or damaged (wrong checksum)")
        os.chmod(partial, 0o644)

    try:
        pooch.get_logger().setLevel("WARNING")  # it prints addresses
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path.parent)
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as scratch:
            # pooch tries again after a ValueError or an error of requests; a process that is killed leaves `scratch`.
            store = pooch.create(
                scratch, "", registry={path.name: None}, urls={path.name: url}, retry_if_failed=RETRIES
            )
            os.replace(store.fetch(path.name, downloader=download), path)
    except (requests.RequestException, ValueError, TimeoutError) as error:
        raise ConnectionError(f"{shown(url)}: {_reason(error, url)}; {ADVICE}") from error
    except MissingFile:
        raise
    except OSError as error:
        raise _write_error(error, path) from error


def _transfer(url: str, partial: str, timeout: float) -> None:
    """Copy what is at `url` into a file; in bounded time and size."""
    import pooch
    import requests

    if urlsplit(url).scheme == "file":
        source = Path(url2pathname(urlsplit(url).path))
        if not source.is_file():
            raise MissingFile(f"{source} does not exist; {ADVICE}")
        if source.stat().st_size <= MAX_SIZE:  # else the checksum says that it is none of the release
            shutil.copyfile(source, partial)
        return
    get = pooch.HTTPDownloader(chunk_size=2**16, timeout=timeout, headers={"Accept-Encoding": "identity"})
    try:
        with open(partial, "wb") as file:  # closed when the time is over, so that the thread ends too
            _within(PATIENCE * timeout, get, url, _Limited(file), None)
    except requests.HTTPError as error:
        if error.response.status_code in (404, 410):
            raise MissingFile(f"{shown(url)} does not exist; {ADVICE}") from error
        raise


class _Limited:
    """A file that does not grow beyond what the release has."""

    def __init__(self, file):
        self.file, self.flush = file, file.flush

    def write(self, block: bytes) -> None:
        if self.file.tell() + len(block) > MAX_SIZE:
            raise TimeoutError(f"the server sends more than {MAX_SIZE} bytes")
        self.file.write(block)


def _within(seconds: float, call, *arguments) -> None:
    """Call in a thread; TimeoutError if it takes longer (a server that sends a byte now and then, for ever)."""
    errors: queue.SimpleQueue = queue.SimpleQueue()

    def run() -> None:
        try:
            errors.put(call(*arguments))
        except Exception as error:
            errors.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = errors.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"the server is too slow, not done after {seconds:.0f} s") from None
    if error:
        raise error


def _reason(error: Exception, url: str) -> str:
    """Why a transfer failed, without what may be secret."""
    import requests

    asked = getattr(getattr(error, "request", None), "url", None) or url  # perhaps where the first server sent us
    server = urlsplit(shown(asked)).netloc
    if isinstance(error, requests.HTTPError):
        return f"{server} answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"{server} does not answer in time"
    if isinstance(error, requests.RequestException):
        return f"no connection to {server}, or it broke off ({type(error).__name__})"
    return str(error)


def shown(url: str) -> str:
    """An address as it may be printed: without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _tidy(folder: Path) -> None:
    """Remove what a process that was killed left of its own, an hour after."""
    for leftover in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):  # another process tidies up too
            if time.time() - leftover.stat().st_mtime > 3600:
                shutil.rmtree(leftover, ignore_errors=True)


def _write_error(error: OSError, path: Path) -> OSError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = "the disk is full" if full else error.strerror or str(error)
    advice = "free space, or choose another folder (WMHQC_DATA), and start again"
    return OSError(error.errno, f"cannot write {path}: {why}; {advice}")
