"""Where the built book lies, and what a test does where there is none."""

import os
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "_build" / "smoke" / "book"
HTML = Path(os.environ.get("WMHQC_BOOK", ROOT / "_build" / "smoke" / "site" / "_build" / "html")).resolve()
_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [f"{_TOC['root']}.html", *(f"{page['file']}.html" for part in _TOC["parts"] for page in part["chapters"])]


def need(path: Path) -> Path:
    """`path`, part of the built book; without it the test skips, or fails where `CI` is set."""
    if not path.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{path} is not built: run `make book SET=smoke` or `make test`"
        )
    return path
