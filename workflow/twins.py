"""Write beside each chapter the notebook that Colab opens: the same cells, no outputs."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat

BOOK = Path(__file__).resolve().parents[1] / "book"


def chapters() -> list[Path]:
    """The pages with code cells."""
    return [page for page in sorted(BOOK.glob("*.md")) if "{code-cell}" in page.read_text()]


def twin(chapter: Path) -> str:
    """The chapter as notebook; cell ids follow the position, so that the text is stable."""
    notebook = jupytext.read(chapter)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:03d}"
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    for chapter in chapters():
        chapter.with_suffix(".ipynb").write_text(twin(chapter))
