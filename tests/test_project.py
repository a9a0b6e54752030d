"""The parts of the repository agree with each other: dependencies, chapters, parameters, documents, wheel."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import execute
import repository
import twins

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13")
SETS = yaml.safe_load((ROOT / "workflow" / "parameters.yml").read_text())
AFTER = ast.literal_eval(
    re.search(r"^AFTER = (\{.*?^\})", (ROOT / "workflow" / "Snakefile").read_text(), re.M | re.S)[1]
)
TOC = [page["file"] for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"] for page in part["chapters"]]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "wmhqc/data/README.md")
CHAPTERS = [page.stem for page in twins.chapters()]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


# ---------------------------------------------------------------- dependencies


def direct():
    """All direct dependencies of pyproject.toml."""
    texts = [*PROJECT["project"]["dependencies"], *sum(PROJECT["project"]["optional-dependencies"].values(), [])]
    return [Requirement(text) for text in texts]


def test_pythons_are_those_of_pyproject():
    bounds = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}" in bounds] == list(PYTHONS)
    assert f"for v in {' '.join(PYTHONS)}" in read("Makefile")


def test_conda_environment_is_in_step():
    environment = yaml.safe_load(read("environment.yml"))
    assert environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    conda = {line.split(" ", 1)[0]: SpecifierSet(line.partition(" ")[2]) for line in conda}
    bounds = {canonicalize_name(r.name): r.specifier for r in direct()}
    bounds |= {r.name: r.specifier for r in map(Requirement, PROJECT["build-system"]["requires"])}
    bounds |= {
        "python": SpecifierSet(PROJECT["project"]["requires-python"]),
        "pip": SpecifierSet(),
        "make": SpecifierSet(),
    }
    assert conda == {name: bounds[name] for name in conda} and {"python", "pip"} <= set(conda)
    # All that conda does not bring, pip does, as pyproject.toml says.
    extras = ",".join(PROJECT["project"]["optional-dependencies"])
    assert pip == {"pip": [f"--editable .[{extras}]"]}


def pins():
    """(requirement, number of hashes) of each pin of the lock."""
    blocks = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n?", "", read("requirements.lock"), flags=re.M).strip())
    return [(Requirement(block.split("\\\n")[0]), block.count("--hash=sha256:")) for block in blocks]


def test_lock_has_hashes_and_names_no_index():
    assert len(pins()) > 100
    for pin, hashes in pins():
        assert hashes >= 1, pin
        assert [part.operator for part in pin.specifier] == ["=="] and pin.url is None, pin
    assert not re.search(
        r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b|https?://(?!docs\.astral)",
        read("requirements.lock"),
        re.M,
    )


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_pins_each_direct_dependency_within_its_bounds(python):
    machine = {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux", "extra": ""}
    machine |= {"platform_machine": "x86_64", "platform_system": "Linux", "implementation_name": "cpython"}
    chosen = {}
    for pin, _ in pins():
        if pin.marker is None or pin.marker.evaluate(machine):
            assert canonicalize_name(pin.name) not in chosen, f"{pin.name} is pinned twice"
            chosen[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    for requirement in [*direct(), *map(Requirement, PROJECT["build-system"]["requires"])]:
        version = chosen[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version} in the lock"


# ---------------------------------------------------------------- chapters


def test_every_page_is_in_the_table_of_contents_and_every_chapter_in_the_workflow():
    pages = {f"book/{page.stem}" for page in (ROOT / "book").glob("*.md")}
    assert {"book/index", *TOC} == pages and len(TOC) == len(set(TOC))
    assert set(AFTER) == set(CHAPTERS)
    order = ["index", *(Path(page).stem for page in TOC)]
    for chapter, before in AFTER.items():
        assert all(order.index(name) < order.index(chapter) for name in before), (
            f"{chapter} stands before what it reads"
        )


def earlier(chapter):
    """All chapters that a chapter waits for."""
    return set(AFTER[chapter]).union(*(earlier(name) for name in AFTER[chapter]))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_waits_for_what_it_reads(chapter):
    reads = set(re.findall(r"\bstages\.(data|uncertainty|error_maps)\(run", read(f"book/{chapter}.md"))) - {chapter}
    assert reads <= earlier(chapter), (
        f"{chapter} reads {reads}, AFTER in the Snakefile makes it wait for {earlier(chapter)}"
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_is_the_chapter_without_outputs(chapter):
    path = ROOT / "book" / f"{chapter}.ipynb"
    assert path.exists() and path.read_text(encoding="utf-8") == twins.twin(ROOT / "book" / f"{chapter}.md"), (
        "run `make notebooks`"
    )
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "widgets" not in notebook.metadata
    # The first cell says what to install; the publishing workflow lets it install.
    assert f"import wmhqc\nexcept ImportError:\n{repository.MISSING}\n" in code[0].source
    published = nbformat.reads(
        twins.twin(ROOT / "book" / f"{chapter}.md", "https://github.com/some/fork"), as_version=4
    )
    first = next(cell for cell in published.cells if cell.cell_type == "code")
    assert "except ImportError:\n    %pip install --quiet git+https://github.com/some/fork\n" in first.source


#: Tags of cells whose code a page does not show, or only where it is asked for.
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_visible_code_is_short_enough_to_be_read(chapter):
    notebook = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    long = []
    for cell in notebook.cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        shown = cell.cell_type == "code" and not HIDDEN & set(cell.metadata.get("tags", []))
        if shown and (len(lines) > 8 or max(map(len, lines), default=0) > 76):
            long.append(cell.source)
    assert not long, f"hide it, or show at most 8 lines of 76 characters: {long[0]}"


def test_there_are_no_other_notebooks():
    assert {page.stem for page in (ROOT / "book").glob("*.ipynb")} == set(CHAPTERS)


# ---------------------------------------------------------------- parameters


def defaults(chapter):
    """Parameters of a chapter and their values, as papermill sees them."""
    known = papermill.inspect_notebook(str(ROOT / "book" / f"{chapter}.ipynb"))
    return {name: ast.literal_eval(found["default"]) for name, found in known.items()}


def test_all_sets_have_the_same_chapters():
    assert list(SETS) == ["smoke", "cpu", "gpu", "paper"]
    for name, chapters in SETS.items():
        assert set(chapters) == set(CHAPTERS), name


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_sets_and_chapters_agree(chapter):
    own = defaults(chapter)
    for name in SETS:
        unknown = set(SETS[name][chapter]) - set(own)
        assert not unknown, f"set {name} gives {chapter} {unknown}"
    assert SETS["cpu"][chapter] == {name: own[name] for name in SETS["cpu"][chapter]}
    # A chapter that keeps or reads results does so in the folder of its set.
    if re.search(r"\(run\b", "".join(re.findall(r"```\{code-cell\}.*?\n```", read(f"book/{chapter}.md"), re.S))):
        assert own["run"] == "runs/cpu"


@pytest.fixture
def typo(tmp_path, monkeypatch):
    """workflow/execute.py in a folder of its own, with one set that has a misspelt parameter."""
    (tmp_path / "book").mkdir()
    (tmp_path / "workflow").mkdir()
    shutil.copy(ROOT / "book" / "data.md", tmp_path / "book")
    (tmp_path / "workflow" / "parameters.yml").write_text("typo:\n  data: {cases: 5, szie: 32}\n")
    monkeypatch.setattr(execute, "ROOT", tmp_path)


def test_an_unknown_parameter_is_refused_before_anything_runs(typo, tmp_path):
    with pytest.raises(SystemExit) as refused:
        execute.execute("typo", "data", tmp_path / "out" / "data.ipynb", [])
    text = str(refused.value)
    assert "book/data.md does not know szie" in text and "cases" in text and "size" in text and "parameters.yml" in text
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out" / "data.ipynb").exists()


def test_an_unknown_set_is_refused(typo, tmp_path):
    with pytest.raises(SystemExit, match="no parameter set 'hgue'; there are typo"):
        execute.execute("hgue", "data", tmp_path / "out" / "data.ipynb", [])


def test_tidy_leaves_what_a_reader_needs():
    """The injected parameters are hidden, TensorFlow's greeting and widget states go, warnings stay."""
    new = nbformat.v4
    greeting = (
        "WARNING: All log messages before absl::InitializeLog() is called\nI0000 00:00:17.2 1 port.cc:153] oneDNN\n"
    )
    retraced = "cases:  0%|   | 0/2WARNING:tensorflow:5 out of the last 10 calls to <f> triggered retracing.\n"
    cells = [
        new.new_code_cell("size = 32", metadata={"tags": ["injected-parameters"]}),
        new.new_code_cell("import keras", outputs=[new.new_output("stream", name="stderr", text=greeting)]),
        new.new_code_cell(
            "f()",
            outputs=[
                new.new_output("stream", name="stderr", text=greeting + "UserWarning: look\n"),
                new.new_output("stream", name="stdout", text=retraced + "I0000 is my text\n"),
            ],
        ),
    ]
    notebook = execute.tidy(new.new_notebook(cells=cells, metadata={"widgets": {"state": {}}}))
    assert "remove-cell" in notebook.cells[0].metadata["tags"] and "widgets" not in notebook.metadata
    assert notebook.cells[1].outputs == []
    assert [output.text for output in notebook.cells[2].outputs] == ["UserWarning: look\n", "I0000 is my text\n"]


def test_a_page_names_no_folder_of_the_machine_that_made_it():
    """Paths begin at the project; base64 that happens to hold the same letters stays as it is."""
    new = nbformat.v4
    text = f"{ROOT}/runs/cpu/a.csv {Path.home()}/b {sys.prefix}/lib/c.py:7: Warning\nx9/{str(ROOT)[1:]}/AA"
    cell = new.new_code_cell("f()", outputs=[new.new_output("stream", name="stdout", text=text)])
    output = execute.without_addresses(new.new_notebook(cells=[cell])).cells[0].outputs[0].text
    assert output == f"runs/cpu/a.csv b lib/c.py:7: Warning\nx9/{str(ROOT)[1:]}/AA"


# ---------------------------------------------------------------- the repository's address


def test_nothing_names_an_address_of_the_project_that_somebody_may_take():
    files = [*ROOT.glob("*.*"), ROOT / "wmhqc" / "data" / "README.md", *(ROOT / "book").glob("*.*")]
    for path in [*files, *(ROOT / "wmhqc").rglob("*.py"), *(ROOT / ".github").rglob("*.yml")]:
        if path.is_file():
            assert not re.search(r"github\.(com|io)/wmhqc|wmhqc\.github", path.read_text(encoding="utf-8")), path


def test_buttons_lead_to_the_repository_that_publishes_and_are_absent_without_one():
    own = yaml.safe_load(read("_config.yml"))
    assert repository.configure(own, "") == own and not {"repository", "launch_buttons"} & set(own)
    published = repository.configure(own, "https://github.com/some/fork/")
    assert published["repository"] == {"url": "https://github.com/some/fork", "branch": "notebooks", "path_to_book": ""}
    assert published["html"]["use_issues_button"] and own["html"].items() <= published["html"].items()


@pytest.mark.parametrize(
    "address", ["github.com/a/b", "https://github.com/a", "https://github.com/a/b; rm -r", "git@github.com:a/b"]
)
def test_what_is_not_an_address_is_refused(address):
    with pytest.raises(SystemExit, match="expected the address of a repository"):
        repository.checked(address)


# ---------------------------------------------------------------- documents


def test_version_is_one():
    import wmhqc

    version = PROJECT["project"]["version"]
    citation = yaml.safe_load(read("CITATION.cff"))
    assert wmhqc.__version__ == version == str(citation["version"])
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)[1] == version
    assert citation["cff-version"] == "1.2.0" and {"title", "message", "authors", "license"} <= set(citation)
    assert citation["license"] == PROJECT["project"]["license"] and "MIT License" in read("LICENSE")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_what_exists(document):
    text, folder = read(document), (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (folder / target).exists(), target
    rules = set(re.findall(r"^(\w+):", read("Makefile"), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`make [^`]*`|^make .*", text, re.M)))) <= rules
    for name in re.findall(r"`((?:wmhqc|tests|workflow|book)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name


def test_readme_explains_every_set_and_variable():
    text = read("README.md")
    for name in SETS:
        assert f"| `{name}` |" in text
    package = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wmhqc").glob("*.py"))
    for variable in set(re.findall(r"\bWMHQC_\w+", package)):
        assert f"`{variable}" in text, variable


def test_notation_names_functions_that_exist():
    found = re.findall(r"`([a-z]+)\.([a-z]\w*)", read("book/notation.md"))
    assert len(found) > 20
    for module, name in found:
        (path,) = (ROOT / "wmhqc").rglob(f"{module}.py")
        imported = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        assert hasattr(imported, name), f"{module}.{name}"


def test_no_machines_own_paths():
    suffixes = {
        ".md",
        ".py",
        ".yml",
        ".yaml",
        ".toml",
        ".cff",
        ".ipynb",
        ".js",
        ".css",
        ".svg",
        ".csv",
        ".tsv",
        ".bib",
        ".lock",
        "",
    }
    folders = ("book", "wmhqc", "workflow", "tests", ".ci", ".github", "benchmarks")
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    own = re.compile(r"(?<![\w./-])(?:file://)?/(home|Users|root|work|mnt|tmp)/\w|[A-Z]:\\\\?Users")
    for path in files:
        if path.suffix in suffixes and "__pycache__" not in path.parts and path.name != ".git":
            found = own.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)}: {found}"


# ---------------------------------------------------------------- package


def test_wheel_works_elsewhere(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "wmhqc", source / "wmhqc", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"wmhqc-{PROJECT['project']['version']}-py3-none-any.whl"
    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(elsewhere)
    inside = {str(path.relative_to(elsewhere)) for path in (elsewhere / "wmhqc").rglob("*") if path.is_file()}
    assert inside == {str(path.relative_to(source)) for path in (source / "wmhqc").rglob("*") if path.is_file()}
    code = (
        "import wmhqc; from wmhqc import view; from wmhqc.book import published; from wmhqc.sources import download\n"
        "t = published.table(); html = view.threshold(t, 'predicted_dice_error', dice='paper_dice').to_html()\n"
        "mounted = 'export default' in html or 'explorer.render' in html\n"
        "print(wmhqc.__file__, len(t), mounted, len(download._manifest()))"
    )
    environment = os.environ | {"PYTHONPATH": str(elsewhere)}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    file, rows, mounted, files = run.stdout.split()
    assert file.startswith(str(elsewhere)) and rows == "105" and mounted == "True" and int(files) >= 90


def test_entry_points_lead_somewhere():
    scripts = PROJECT["project"].get("scripts", {})
    points = [*scripts.values(), *(v for group in PROJECT["project"]["entry-points"].values() for v in group.values())]
    for point in points:
        module, name = point.split(":")
        assert hasattr(importlib.import_module(module), name), point


def test_what_is_published_is_built_and_tested_by_the_readmes_commands():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands["test"][0].startswith("bash .ci/run ") and commands["test"][1] == "make lint"
    assert commands["build"][0] == 'make book REPOSITORY="$REPOSITORY"'
    uploaded = next(step["with"]["path"] for step in jobs["build"]["steps"] if "upload" in step.get("uses", ""))
    assert uploaded == "_build/cpu/site/_build/html", "where `make book` says that the book lies"
    assert (
        jobs["build"]["needs"] == "test" and jobs["deploy"]["needs"] == "build" and jobs["release"]["needs"] == "test"
    )
