"""The house of the package: arrows point down, nothing goes in a circle, no file is long (CONTRIBUTING.md shows it)."""

import ast
import subprocess
import sys
import tokenize

import pytest

import wmhqc
from depends import MODULES, PACKAGE, imports

#: Folder -> the folders that it may import; every folder may import the core and itself.
BELOW = {
    "core": set(),
    "sources": set(),
    "view": set(),
    "screen": {"view", "sources"},
    "book": {"screen", "view", "sources"},
}
LONGEST = 250


def folder(module):
    """The folder of a module: `core` for what lies on top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "core"


def code_lines(path):
    """Lines of a file without docstrings, comments and blanks."""
    text = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in skipped]
    lines = {line for token in tokens[1:] for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - documented)


def test_arrows_point_down():
    arrows = {(module, other) for module in MODULES for other in imports(module) - {"wmhqc"}}
    up = {(a, b) for a, b in arrows if folder(b) not in BELOW[folder(a)] | {"core", folder(a)}}
    assert not up


def test_no_import_goes_in_a_circle():
    arrows = {(module, other) for module in MODULES for other in imports(module) - {"wmhqc"}}
    while True:  # what nothing imports, and what imports nothing, is in no circle
        inside = {a for a, _ in arrows} & {b for _, b in arrows}
        rest = {(a, b) for a, b in arrows if a in inside and b in inside}
        if rest == arrows:
            break
        arrows = rest
    assert not arrows, sorted(arrows)


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_long(module):
    lines = code_lines(MODULES[module])
    assert lines <= LONGEST, f"{lines} code lines, at most {LONGEST}"


def test_code_lines_of_each_folder(capsys):
    """Prints them; `pytest -k code_lines -s` shows the table."""
    counts = dict.fromkeys(BELOW, 0)
    for module, path in MODULES.items():
        counts[folder(module)] += code_lines(path)
    with capsys.disabled():
        print(
            "\n" + "\n".join(f"{name:8}{count:6}" for name, count in [*counts.items(), ("all", sum(counts.values()))])
        )
    assert min(counts.values()) > 0


def test_code_lines_are_counted_without_words(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""Two\nlines."""\n\n# a comment\nx = [\n    1,\n]\n\n\ndef f():\n    """Word."""\n    return x  # why\n'
    )
    assert code_lines(path) == 5


# ---------------------------------------------------------------- the front door


def test_every_name_of_the_front_door_leads_to_a_documented_function():
    assert len(wmhqc._FRONT_DOOR) <= 15 and set(wmhqc._FRONT_DOOR) < set(dir(wmhqc))
    for module, name in wmhqc._FRONT_DOOR.values():
        tree = ast.parse(MODULES[f"wmhqc.{module}"].read_text(encoding="utf-8"))
        (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert ast.get_docstring(found)


def test_no_name_of_the_front_door_is_that_of_a_module():
    """`from wmhqc import name` would give the one or the other, after what was imported before."""
    assert not set(wmhqc._FRONT_DOOR) & {module.split(".")[1] for module in MODULES if "." in module}


def test_the_front_door_opens():
    from wmhqc import cohort

    assert wmhqc.read_cohort is cohort.read_csv
    with pytest.raises(AttributeError, match="module 'wmhqc' has no attribute 'no_such_name'"):
        _ = wmhqc.no_such_name


def test_import_takes_less_than_50_milliseconds_and_nothing_heavy():
    code = (
        "import sys, time; before = set(sys.modules); begun = time.perf_counter(); import wmhqc; "
        "print(time.perf_counter() - begun, *{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    assert not set(runs[0][1:]) & {"numpy", "pandas", "scipy", "keras", "tensorflow", "nibabel", "matplotlib"}
    assert min(float(seconds) for seconds, *_ in runs) < 0.05  # the quickest: other work on the machine is not ours
