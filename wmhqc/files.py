"""A file is there whole or not at all, whatever kills the program while it writes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there becomes `path` if all went well.

    The temporary name is hidden and has the ending of `path`, from which many writers choose the
    format. Folders that are missing are made. Several processes, of several machines, may write the
    same file: each has its own temporary name, and the last one wins. An error of the disk names `path`.

        with replacing("runs/cpu/cases.csv") as partial:
            table.to_csv(partial)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        with naming(path, partial):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, partial: Path) -> Iterator[None]:
    """An OSError from here names `path`: that of a write names no file, that of opening the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise


def no_room(error: Exception) -> str:
    """What to do if a disk, a quota or a limit is full, as words that name the file; empty for all other errors."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    where = error.filename or "the results"
    return f"no space is left for {where} ({error.strerror}); make room, and give the same command again"


def sweep(folder: str | Path) -> None:
    """Remove what processes of this machine that were killed began to write in a folder (`replacing`)."""
    pattern = re.compile(rf"\.{_machine()}-(\d+)-[0-9a-f]{{8}}\.")
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            match = pattern.match(name)
            if match and not _runs(int(match[1])):
                Path(folder, name).unlink(missing_ok=True)


def _machine() -> str:
    """A short name of this machine, as the same number may be another process elsewhere."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def write_json(content, path: str | Path) -> None:
    """Write JSON; the file is there whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1))


def read_json(path: str | Path, default=None):
    """Read JSON; `default` where there is no file, or one that holds no JSON."""
    try:
        return json.loads(Path(path).read_text())
    except (FileNotFoundError, ValueError):
        return default


def write_table(table, path: str | Path) -> None:
    """Write a table as CSV without its index; the file is there whole or not at all."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_maps(path: str | Path, **maps) -> None:
    """Write arrays as one compressed npz (no pickle)."""
    import numpy as np

    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **maps)


def load_maps(path: str | Path) -> dict:
    """Read what `save_maps` wrote: name to array."""
    import numpy as np

    with np.load(path) as file:
        return dict(file)
