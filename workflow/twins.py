"""Write each chapter as the notebook that Colab opens: the same cells, no outputs.

python workflow/twins.py                    beside the chapters
python workflow/twins.py ADDRESS FOLDER     into a folder, to be installed from the repository at ADDRESS
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jupytext
import nbformat

import repository

BOOK = Path(__file__).resolve().parents[1] / "book"


def chapters() -> list[Path]:
    """The pages with code cells."""
    return [page for page in sorted(BOOK.glob("*.md")) if "{code-cell}" in page.read_text(encoding="utf-8")]


def twin(chapter: Path, address: str = "") -> str:
    """The chapter as notebook; cell ids follow the position, so that the text is stable."""
    notebook = jupytext.read(chapter)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:03d}"
    if address:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = repository.install_from(first.source, address)
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", default="", help="of the repository")
    parser.add_argument("folder", nargs="?", type=Path, default=BOOK.parent)
    arguments = parser.parse_args()
    target = arguments.folder / "book"
    target.mkdir(parents=True, exist_ok=True)
    for chapter in chapters():
        (target / f"{chapter.stem}.ipynb").write_text(twin(chapter, arguments.address), encoding="utf-8")
