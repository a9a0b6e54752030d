"""The MS17 download against servers that misbehave, full disks, kills and races."""

import contextlib
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wmhqc import cohort
from wmhqc.sources import download, layouts

FILES = ("T1w", "FLAIR", "lesion")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A tiny release: two patients, and the manifest that belongs to it."""
    root = tmp_path_factory.mktemp("release")
    lines = ["# synthetic", "patient\tfile\tsha1\tsha256\tpath"]
    rng = np.random.default_rng(0)
    for patient in ("01", "02"):
        brain = np.zeros((16, 16, 16), np.float32)
        brain[4:12, 4:12, 4:12] = rng.uniform(1, 2, (8, 8, 8))
        brain[8, 8, 8] = -1  # a hole inside, outside below 0 as in the real release
        lesion = (brain > 1.9).astype(np.uint8)
        for name, array in zip(FILES, (brain, brain * 2, lesion), strict=True):
            path = root / f"x/patient{patient}/{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest() if name == "FLAIR" else ""  # not known of every file
            where = path.relative_to(root).as_posix()
            lines.append("\t".join([patient, name, download.git_sha1(content), sha256, where]))
    (root / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(autouse=True)
def own_release(monkeypatch, release):
    monkeypatch.setattr(download, "MANIFEST", release / "manifest.tsv")
    monkeypatch.delenv("WMHQC_MS17_URL", raising=False)
    monkeypatch.delenv("WMHQC_DATA", raising=False)
    monkeypatch.setattr("pooch.core.time", types.SimpleNamespace(sleep=lambda seconds: None))  # between attempts


@pytest.fixture
def server(release):
    """A server whose behaviour the test sets: a function (handler, content, number of the request)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            box["count"] += 1
            path = release / self.path.lstrip("/")
            if not path.is_file():
                return self.send_error(404)
            with contextlib.suppress(OSError):  # the client went away
                box["behave"](self, path.read_bytes(), box["count"])

        def log_message(self, *_):
            pass

    box = {"behave": send, "count": 0}
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    box["url"] = f"http://127.0.0.1:{web.server_port}"
    yield box
    web.shutdown()
    web.server_close()


def send(handler, content, _=0, length=None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


def fetch(folder, url, **options):
    return download.fetch_ms17(folder, base_url=url, progress=False, **{"timeout": 30, **options})


def files(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


def whole(folder):
    """Every file that stands under its final name is right."""
    manifest = download._manifest().set_index(["patient", "file"])["sha1"]
    found = [path for path in Path(folder).rglob("sub-*.nii.gz") if "brainmask" not in path.name]
    assert all(
        download.git_sha1(p.read_bytes()) == manifest[p.parent.name[-2:], p.name.split("_")[1][:-7]] for p in found
    )
    return len(found)


# ---------------------------------------------------------------- it works


def test_shipped_manifest(monkeypatch):
    monkeypatch.undo()
    manifest = download._manifest()
    assert len(manifest) == 90 and manifest["patient"].nunique() == 30
    assert set(manifest["file"]) == set(FILES) and manifest["sha1"].str.fullmatch("[0-9a-f]{40}").all()
    assert manifest["sha256"].str.fullmatch("([0-9a-f]{64})?").all() and manifest["sha256"].map(bool).sum() == 6
    assert manifest["sha1"].is_unique and manifest["path"].is_unique
    assert download.COMMIT in download.MANIFEST.read_text() and download.COMMIT in download.MS17_URL


def test_git_sha1():
    assert download.git_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object: known value


@pytest.mark.parametrize("kind", ["http", "file"])
def test_fetch(tmp_path, server, release, kind, monkeypatch):
    monkeypatch.setenv("WMHQC_MS17_URL", server["url"] if kind == "http" else release.as_uri())
    monkeypatch.setenv("WMHQC_DATA", str(tmp_path / "data"))
    table = download.fetch_ms17(progress=False)
    assert table["case"].tolist() == ["sub-ms17p01", "sub-ms17p02"] and set(table["licence"]) == {"CC BY"}
    assert table["citation"].str.contains("Lesjak").all() and not table["synthetic"].any()
    assert whole(tmp_path) == 6 and len(files(tmp_path)) == 8
    brain = nib.load(table["brainmask"][0]).get_fdata()
    assert brain.sum() == 512 and brain[8, 8, 8] == 1
    assert oct(os.stat(table["t1"][0]).st_mode)[-3:] == "644"
    # The folder is a plain cohort folder.
    assert layouts.from_folder(tmp_path / "data/ms17")[["case", "t1", "brainmask"]].equals(
        table[["case", "t1", "brainmask"]]
    )
    # Once there, nothing is asked for again.
    before = server["count"]
    download.fetch_ms17(progress=False)
    assert server["count"] == before


def test_some_patients(tmp_path, server):
    assert fetch(tmp_path, server["url"], patients=[2])["patient"].tolist() == ["02"]
    with pytest.raises(ValueError, match="not 31"):
        fetch(tmp_path, server["url"], patients=[31])
    with pytest.raises(ValueError, match="must begin with http"):
        fetch(tmp_path, "ftp://x")


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:-1] + b"x", lambda b: b + b"x"])
def test_damaged_files_on_the_disk_are_fetched_again(tmp_path, server, damage):
    path = Path(fetch(tmp_path, server["url"])["flair"][1])
    path.write_bytes(damage(path.read_bytes()))
    fetch(tmp_path, server["url"])
    assert whole(tmp_path) == 6 and server["count"] == 7


# ---------------------------------------------------------------- servers that misbehave


def status(code):
    return lambda handler, content, number: handler.send_error(code)


def drop(handler, content, number):
    handler.connection.shutdown(socket.SHUT_RDWR)


def stall(handler, content, number):
    send(handler, content[:100], length=len(content))
    time.sleep(4)


def mute(handler, content, number):
    time.sleep(4)


def drip(handler, content, number):
    send(handler, b"", length=len(content))
    for byte in content[:60]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def drip_header(handler, content, number):
    """One byte each tenth of a second: no read ever waits for long."""
    for byte in b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 50:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def flood(handler, content, number):
    send(handler, b"", length=10**9)
    for _ in range(10**9 // 2**20):
        handler.wfile.write(bytes(2**20))


BAD_SERVERS = {
    "drips the header": (drip_header, ConnectionError, "too slow, not done after 2 s", 1),
    "sends without end": (flood, ConnectionError, "more than 16777216 bytes", 1),
    "404": (status(404), FileNotFoundError, "does not exist; check the network, and the address", 1),
    "500": (status(500), ConnectionError, "answers 500", 3),
    "403": (status(403), ConnectionError, "answers 403", 3),
    "truncated": (lambda h, c, n: send(h, c[:200], length=len(c)), ConnectionError, "broke off|wrong checksum", 3),
    "truncated, length to match": (lambda h, c, n: send(h, c[:200]), ConnectionError, "wrong checksum", 3),
    "corrupted": (lambda h, c, n: send(h, c[:99] + b"x" + c[100:]), ConnectionError, "wrong checksum", 3),
    "a page instead": (lambda h, c, n: send(h, b"<html>log in</html>"), ConnectionError, "wrong checksum", 3),
    "empty": (lambda h, c, n: send(h, b""), ConnectionError, "wrong checksum", 3),
    "drops the connection": (drop, ConnectionError, "broke off", 3),
    "stalls": (stall, ConnectionError, "broke off|in time", 3),
    "says nothing": (mute, ConnectionError, "does not answer in time", 3),
    "drips": (drip, ConnectionError, "too slow, not done after 2 s", 1),
    "no http": (lambda h, c, n: h.wfile.write(b"SSH-2.0-x\r\n\r\n"), ConnectionError, "broke off|no connection", None),
}


#: These are given up by the clock, after a second without an answer or after two in all; all others answer at once,
#: and may take their time on a busy machine.
SILENT, SLOW = {"stalls", "says nothing"}, {"drips", "drips the header"}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_bad_servers(tmp_path, server, kind, monkeypatch):
    server["behave"], error, message, requests = BAD_SERVERS[kind]
    timeout = 1 if kind in SILENT else 30
    monkeypatch.setattr(download, "PATIENCE", (2 if kind in SLOW else 60) / timeout)
    with pytest.raises(error, match=message) as raised:
        fetch(tmp_path, server["url"], timeout=timeout)
    assert "WMHQC_MS17_URL" in str(raised.value)
    assert files(tmp_path) == [] and requests in (None, server["count"])
    # And for a build: an empty table and the reason. Missing patients are skipped.
    table, reason = download.try_ms17(tmp_path, base_url=server["url"], progress=False, timeout=timeout)
    assert table.empty and list(table.columns[:5]) == cohort.COLUMNS[:5] and reason
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "first",
    [status(500), status(503), drop, lambda h, c, n: send(h, c[:200], length=len(c)), lambda h, c, n: send(h, c[::-1])],
)
def test_a_server_that_recovers(tmp_path, server, first, monkeypatch):
    server["behave"] = lambda handler, content, number: (first if number == 1 else send)(handler, content, number)
    assert len(fetch(tmp_path, server["url"])) == 2
    assert whole(tmp_path) == 6 and len(files(tmp_path)) == 8 and server["count"] == 7


def test_no_server_at_all(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        start = time.monotonic()
        table, reason = download.try_ms17(tmp_path, base_url=url, progress=False)
        assert table.empty and "no connection to" in reason and time.monotonic() - start < 60


def test_what_is_there_is_used_without_a_server(tmp_path, release):
    fetch(tmp_path, release.as_uri(), patients=[2])
    table, reason = download.try_ms17(tmp_path, base_url="http://127.0.0.1:9", progress=False)
    assert table["patient"].tolist() == ["02"] and "no connection" in reason


def test_mirror_that_lacks_a_patient(tmp_path, release):
    part = tmp_path / "mirror"
    (part / "x").mkdir(parents=True)
    (part / "x/patient02").symlink_to(release / "x/patient02")
    with pytest.raises(download.MissingFile, match="patient01"):
        fetch(tmp_path / "out", part.as_uri())
    table, reason = download.try_ms17(tmp_path / "out", base_url=part.as_uri(), progress=False)
    assert reason.endswith("does not have 1 of 2 patients: 01")
    assert table["patient"].tolist() == ["02"]
    assert whole(tmp_path) == 3


def test_no_password_is_printed(tmp_path, server):
    """Some mirrors ask for a name and a password, which stand in the address."""
    for behave, timeout in ((status(404), 30), (status(500), 30), (stall, 1)):
        server["behave"] = behave
        url = server["url"].replace("http://", "http://me:secret@")
        with pytest.raises(OSError, match="127.0.0.1") as error:
            fetch(tmp_path, url, timeout=timeout)
        _, reason = download.try_ms17(tmp_path, base_url=url, progress=False, timeout=timeout)
        assert "secret" not in str(error.value) + reason and "127.0.0.1" in reason


def test_the_server_that_did_not_answer_is_named(tmp_path, server):
    """Not the one that was asked first and sent on to it."""

    def redirect(handler, content, number):
        handler.send_response(302)
        handler.send_header("Location", "http://no-such-host.invalid/file")
        handler.end_headers()

    server["behave"] = redirect
    with pytest.raises(ConnectionError, match="no connection to no-such-host.invalid"):
        fetch(tmp_path, server["url"])


def test_only_own_files_are_removed(tmp_path, release):
    """The folder is the user's too."""
    folder = tmp_path / "ms17" / "sub-ms17p01"
    folder.mkdir(parents=True)
    own = [folder / name for name in ("tmp_my_corrected_lesions.nii.gz", ".notes", ".ipynb_checkpoints/x", "mask.nii")]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
        os.utime(path.parent, (0, 0))
    fetch(tmp_path, release.as_uri())
    assert all(path.exists() for path in own)


def test_a_damaged_file_stays_until_the_better_one_is_there(tmp_path, release):
    path = Path(fetch(tmp_path, release.as_uri())["flair"][0])
    path.write_bytes(b"damaged")
    with pytest.raises(ConnectionError):
        fetch(tmp_path, "http://127.0.0.1:9")
    assert path.read_bytes() == b"damaged"
    fetch(tmp_path, release.as_uri())
    assert whole(tmp_path) == 6


def test_both_checksums_count(tmp_path, release, monkeypatch):
    text = (release / "manifest.tsv").read_text()
    (tmp_path / "manifest.tsv").write_text(
        "\n".join(
            line if "FLAIR" not in line else line.replace(line.split("\t")[3], "0" * 64) for line in text.splitlines()
        )
    )
    monkeypatch.setattr(download, "MANIFEST", tmp_path / "manifest.tsv")
    with pytest.raises(ConnectionError, match="wrong checksum"):
        fetch(tmp_path / "data", release.as_uri())


# ---------------------------------------------------------------- kill, race, disk


RUN = """
import sys
from pathlib import Path
from wmhqc.sources import download
download.MANIFEST = Path(sys.argv[1])
try:
    print(len(download.fetch_ms17(sys.argv[2], base_url=sys.argv[3], progress=False, timeout=20)))
except OSError as error:
    print(type(error).__name__, error)
"""


def start(release, folder, url, prefix=""):
    root = Path(download.__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", prefix + RUN, release / "manifest.tsv", folder, url],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(tmp_path, server, release, how):
    reached = threading.Event()

    def hang(handler, content, number):
        if number < 3:
            return send(handler, content)
        send(handler, content[:150], length=len(content))
        reached.set()
        time.sleep(10)

    server["behave"] = hang
    process = start(release, tmp_path, server["url"])
    assert reached.wait(300)
    time.sleep(0.2)
    process.send_signal(how)
    process.communicate(timeout=600)
    assert whole(tmp_path) == 2  # two files, and nothing half under a final name
    leftovers = list(tmp_path.rglob(".wmhqc-partial-*"))
    assert len(leftovers) == (1 if how == signal.SIGKILL else 0)
    for path in leftovers:
        os.utime(path, (0, 0))  # an old one is swept away
    server["behave"] = send
    assert len(fetch(tmp_path, server["url"])) == 2
    assert whole(tmp_path) == 6 and len(files(tmp_path)) == 8


def test_two_processes_at_once(tmp_path, server, release):
    server["behave"] = lambda handler, content, number: (time.sleep(0.05), send(handler, content))
    both = [start(release, tmp_path, server["url"]) for _ in range(2)]
    assert [process.communicate(timeout=600)[0].strip() for process in both] == ["2", "2"]
    assert whole(tmp_path) == 6 and len(files(tmp_path)) == 8


def test_tidying_beside_another_process(tmp_path, monkeypatch):
    """What was listed a moment ago may be gone: no error (a race that stopped one of two processes)."""
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [folder / ".wmhqc-partial-gone"])
    download._tidy(tmp_path)


def test_full_disk(tmp_path, release, server):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
    for url in (server["url"], release.as_uri()):
        out = start(release, tmp_path, url, limit).communicate(timeout=600)[0]
        assert "the disk is full" in out and "WMHQC_DATA" in out and str(tmp_path) in out
        assert files(tmp_path) == []


def test_full_disk_at_the_brain_mask(tmp_path, release, monkeypatch):
    def full(image, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.nib, "save", full)
    with pytest.raises(OSError, match="brainmask.nii.gz: the disk is full"):
        fetch(tmp_path, release.as_uri())
    assert files(tmp_path) == ["sub-ms17p01_FLAIR.nii.gz", "sub-ms17p01_T1w.nii.gz", "sub-ms17p01_lesion.nii.gz"]
    table, reason = download.try_ms17(tmp_path, base_url=release.as_uri(), progress=False)
    assert table.empty and "disk is full" in reason


def test_folder_that_cannot_be_written(tmp_path, release):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write|Not a directory|File exists"):
        fetch(tmp_path / "file", release.as_uri())


def test_public_files(shared, tmp_path, monkeypatch):
    """The real manifest against real files of the release; the prepared copies are the same patients."""
    monkeypatch.undo()
    mirror = (shared / "data/mirror/open_ms_data").as_uri()
    table = download.fetch_ms17(tmp_path, patients=[7], base_url=mirror, progress=False)
    assert cohort.check(table)[1].empty
    ours = nib.as_closest_canonical(nib.load(table["brainmask"][0])).get_fdata() > 0
    given = nib.load(shared / "data/real/sub-ms17p07/sub-ms17p07_brainmask.nii.gz").get_fdata() > 0
    assert 2 * (ours & given).sum() / (ours.sum() + given.sum()) > 0.98
