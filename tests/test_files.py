import subprocess
import sys

import pytest

from wmhqc import files
from wmhqc.files import replacing


def test_what_is_written_gets_its_name_at_the_end(tmp_path):
    path = tmp_path / "new" / "table.nii.gz"
    for content in ("one", "two"):  # also over an older file
        with replacing(path) as partial:
            partial.write_text(content)
            assert partial.name.startswith(".") and partial.name.endswith("table.nii.gz")
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == content
    assert [file.name for file in path.parent.iterdir()] == ["table.nii.gz"]


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(str(path)) as partial:
        partial.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    with pytest.raises(FileNotFoundError), replacing(path):
        pass  # nothing was written
    assert path.read_text() == "old"


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    code = (
        "import os, sys; from wmhqc import files\nwith files.replacing(sys.argv[1]) as path: path.touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")])
    (left,) = tmp_path.iterdir()
    kept = [tmp_path / name for name in ("a.json", ".hidden", left.name.replace(files._machine(), "other0"))]
    for path in kept:
        path.touch()
    with files.replacing(tmp_path / "b.json") as mine:
        mine.touch()
        files.sweep(tmp_path)
        assert set(tmp_path.iterdir()) == {*kept, mine}
    files.sweep(tmp_path / "nowhere")
