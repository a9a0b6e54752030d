"""A file is there whole or not at all, whatever kills the program while it writes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there becomes `path` if all went well.

    The temporary name is hidden and has the ending of `path`, from which many writers choose the
    format. Folders that are missing are made. Several processes, of several machines, may write the
    same file: each has its own temporary name, and the last one wins.

        with replacing("runs/cpu/cases.csv") as partial:
            table.to_csv(partial)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
