"""Which files of the package a chapter depends on: the modules that it imports, and what those import.

Read from the source, so nothing is imported. A change elsewhere leaves the chapter's results as they are.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wmhqc"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(tree: ast.AST) -> set[str]:
    """The package's modules that some code imports, also within functions."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            named |= inside if len(inside) == len(node.names) else {*inside, node.module}
    return named & set(MODULES)


@cache
def imports(module: str) -> frozenset[str]:
    """The package's modules that one of them imports."""
    return frozenset(imported(ast.parse(MODULES[module].read_text(encoding="utf-8"))) - {module})


def code(chapter: str) -> str:
    """The code of a chapter's cells, without the notebook's own commands."""
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    cells = re.findall(r"^```\{code-cell\}.*?\n(.*?)^```", text, re.M | re.S)
    lines = "\n".join(re.sub(r"\A---\n.*?\n---\n", "", cell, flags=re.S) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*[%!:]", line))


def modules(chapter: str) -> set[str]:
    """All modules behind a chapter; the whole package where it uses the front door (`wmhqc.prepare`)."""
    tree = ast.parse(code(chapter))
    if any(isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "wmhqc" for node in ast.walk(tree)):
        return set(MODULES)
    found, waiting = set(), imported(tree)
    while waiting:
        found |= waiting
        waiting = set().union(*(imports(module) for module in waiting)) - found
    return found


def files(chapter: str) -> list[str]:
    """Paths, from the project's folder, of all files of the package that a chapter depends on.

    Beside its modules: scripts and templates in their folders, and those of the package's data that the chapter or
    one of its modules names.
    """
    found = {MODULES[module] for module in modules(chapter)}
    words = set(re.findall(r"\w+", code(chapter) + "".join(path.read_text(encoding="utf-8") for path in found)))
    for folder in {path.parent for path in found} - {PACKAGE}:
        found |= {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    for entry in (PACKAGE / "data").iterdir():
        if entry.stem in words and entry.suffix != ".md":
            found |= {path for path in (entry, *entry.rglob("*")) if path.is_file()}
    return sorted(str(path.relative_to(ROOT)) for path in found)
