"""Execute one chapter with one set of parameters.

    python workflow/execute.py SET CHAPTER OUTPUT.ipynb [--after CHAPTER ...]

The chapter's folder of results, runs/SET/CHAPTER, is kept from an execution that was cut off,
so that training goes on where it was; it is emptied when anything that the results depend on
has changed since: the chapter, the package, the parameters, or the chapters before it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml

import depends

ROOT = Path(__file__).resolve().parents[1]


def parameters(name: str, chapter: str) -> dict:
    """What a parameter set gives to a chapter."""
    sets = yaml.safe_load((ROOT / "workflow" / "parameters.yml").read_text())
    if name not in sets:
        raise SystemExit(f"no parameter set {name!r}; there are {', '.join(sets)}")
    return sets[name][chapter]


def refuse_unknown(known: dict, chapter: str, given: dict) -> None:
    """papermill only warns of a parameter that a notebook does not have."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SystemExit(
            f"book/{chapter}.md does not know {', '.join(unknown)}; its parameters are "
            f"{', '.join(known)} (workflow/parameters.yml, tagged cell of the chapter)"
        )


def fingerprint(chapter: str, given: dict, folder: Path, after: list[str]) -> str:
    """A hash of all that the results of a chapter depend on."""
    package = [ROOT / name for name in depends.files(chapter)]
    files = [ROOT / "book" / f"{chapter}.md", ROOT / "requirements.lock", *package]
    files += [folder / name / "fingerprint" for name in after]
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


# What TensorFlow says on every machine when it starts, before it obeys TF_CPP_MIN_LOG_LEVEL; and
# its guess, wrong where several networks are used in turn, that one of them is compiled again.
REMARKS = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog|I0000 00:|.*WARNING:tensorflow:\d+ out of the last).*\n?",
    re.MULTILINE,
)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Hide papermill's injected cell, and leave of the outputs what a reader wants to see.

    TensorFlow's remarks go; of a progress bar its last state stays; the states of widgets go,
    since the page has its own view of them.
    """
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("remove-cell")
        if "outputs" in cell:
            cell.outputs = merge_streams(cell.outputs)
    notebook.metadata.pop("widgets", None)
    return notebook


def addresses() -> re.Pattern:
    """The folders of this machine that a page must not name: project, environment, temporary files, home."""
    folders = [str(folder) for folder in (ROOT, sys.prefix, tempfile.gettempdir(), Path.home()) if str(folder) != "/"]
    # Not within a word: a picture in base64 may hold these letters.
    return re.compile(rf"(?<![\w+/])({'|'.join(map(re.escape, sorted(folders, key=len, reverse=True)))})(/|\b)")


def without_addresses(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with paths from the folders of `addresses` on: what is below the project stays readable."""
    return nbformat.reads(addresses().sub("", nbformat.writes(notebook)), as_version=4)


def merge_streams(outputs: list) -> list:
    """Join what was printed in several pieces, as a terminal would show it."""
    merged = []
    for output in outputs:
        name = output.get("name")
        if name and merged and merged[-1].get("name") == name:
            merged[-1]["text"] += output["text"]
        else:
            merged.append(output)
    for output in merged:
        if "name" in output:
            text = REMARKS.sub("", output["text"])
            output["text"] = re.sub(r"^.*\r(?=[^\r\n])", "", text, flags=re.MULTILINE).replace("\r", "")
    return [output for output in merged if output.get("text", "x").strip()]


def execute(name: str, chapter: str, output: Path, after: list[str]) -> None:
    given = parameters(name, chapter)
    output.parent.mkdir(parents=True, exist_ok=True)
    source = output.with_name(f"{chapter}.source.ipynb")
    nbformat.write(jupytext.read(ROOT / "book" / f"{chapter}.md"), source)
    known = papermill.inspect_notebook(str(source))
    refuse_unknown(known, chapter, given)
    if "run" in known:
        given = {"run": f"runs/{name}", **given}

    results = ROOT / "runs" / name / chapter
    key = fingerprint(chapter, given, results.parent, after)
    note = results / "fingerprint"
    if not note.exists() or note.read_text() != key:
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        note.write_text(key)

    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ |= {
        "PLOTLY_RENDERER": "plotly_mimetype",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        # joblib says so of workers that it ended itself
        "PYTHONWARNINGS": "ignore::DeprecationWarning,ignore:A worker stopped while some jobs:UserWarning",
    }
    executed = papermill.execute_notebook(
        str(source),
        str(source.with_name(f"{chapter}.partial.ipynb")),
        parameters=given,
        kernel_name="python3",
        cwd=str(ROOT),
        progress_bar=sys.stderr.isatty(),
        log_output=False,
    )
    nbformat.write(without_addresses(tidy(executed)), output)
    source.unlink()
    source.with_name(f"{chapter}.partial.ipynb").unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("chapter")
    parser.add_argument("output", type=Path)
    parser.add_argument("--after", nargs="*", default=[], help="chapters whose results this one reads")
    arguments = parser.parse_args()
    execute(arguments.set, arguments.chapter, arguments.output.resolve(), arguments.after)
