"""Several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wmhqc.screen import parallel


def test_a_killed_process_ends_the_run_and_says_so(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "")
    with pytest.raises(MemoryError, match="goes on where it was, better with fewer --jobs"):
        list(parallel.each(die, [{"case": name} for name in "abcd"], 2))


def die(row):
    os._exit(1)


def shout(row, *arguments):
    return f"{row['case']} {os.getpid()} {os.environ['OMP_NUM_THREADS']} {arguments}"


def test_processes_share_the_work(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    done = dict(parallel.each(shout, [{"case": name} for name in "abcd"], 2, 5))
    assert set(done) == set("abcd")
    assert all(done[name].split()[0] == name and done[name].endswith("4 (5,)") for name in done)
    assert str(os.getpid()) not in {text.split()[1] for text in done.values()}


HANG = """
import signal, sys
from wmhqc.screen import cli, parallel
from test_parallel import note
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
def work(arguments):
    list(parallel.each(note, [{"case": name} for name in "ab"], 2, sys.argv[1]))
cli.parser = lambda: type("", (), {"parse_args": lambda *_: type("", (), {"run": staticmethod(work), "command": "qc"})})
sys.exit(cli.main())
"""


def note(row, folder):
    """Write down the process, and go on."""
    (Path(folder) / row["case"]).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["kill", "term", "int"],
)
def test_processes_end_with_the_one_that_started_them(tmp_path, number, status):
    folder = tmp_path / "workers"
    folder.mkdir()
    (tmp_path / "hang.py").write_text(
        "if __name__ == '__main__':\n" + "\n".join(f"    {line}" for line in HANG.split("\n"))
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(__file__).parent)])
    }
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "hang.py"), str(folder)], env=environment, stderr=subprocess.PIPE
    )
    wait_until(lambda: len([file for file in folder.iterdir() if file.read_text()]) == 2)
    workers = [int(file.read_text()) for file in folder.iterdir()]
    parent.send_signal(number)
    assert parent.wait(300) == status
    if status > 0:
        assert "the same command goes on where it was" in parent.communicate()[1].decode()
    wait_until(lambda: not any(map(alive, workers)))


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(ready, seconds=300):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_an_interrupt_reaches_the_parent_alone(monkeypatch):
    """Ctrl-C goes to all processes of a terminal; a worker that starts just then must not be half awake."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "")
    before = signal.getsignal(signal.SIGINT)
    done = dict(parallel.each(ignores, [{"case": name} for name in "ab"], 2))
    assert done == {"a": "True", "b": "True"} and signal.getsignal(signal.SIGINT) is before


def ignores(row):
    return str(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
