"""The executed chapters of the smoke book: nothing failed, nothing is missing, nothing is left over."""

import re

import nbformat
import pytest
import yaml

from built import NOTEBOOKS, ROOT, need

CHAPTERS = sorted(
    page.stem for page in (ROOT / "book").glob("*.md") if "{code-cell}" in page.read_text(encoding="utf-8")
)
SMOKE = yaml.safe_load((ROOT / "workflow" / "parameters.yml").read_text())["smoke"]
PROGRESS = re.compile(r"^\s*$|\d+%\|.*\|")  # a bar of tqdm


@pytest.fixture(params=CHAPTERS)
def chapter(request):
    """Name and executed notebook."""
    return request.param, nbformat.read(need(NOTEBOOKS / f"{request.param}.ipynb"), as_version=4)


def outputs(notebook):
    return [(cell, output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_every_cell_ran_without_an_error_or_a_warning(chapter):
    _, notebook = chapter
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip():
            assert cell.execution_count is not None, cell.source
    for cell, output in outputs(notebook):
        assert output.output_type != "error", output
        if output.output_type == "stream":
            lines = output.text.splitlines()
            if output.name == "stderr":
                assert [line for line in lines if not PROGRESS.search(line)] == [], cell.source
            # Of a progress bar the last state only; no library's warning among the results.
            assert "\r" not in output.text.rstrip("\n") and "WARNING:" not in output.text, output.text[:300]


def test_every_number_of_the_text_was_computed(chapter):
    _, notebook = chapter
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = set(re.findall(r"\{glue:text\}`([^`:]+)", text))
    glued = {
        output.metadata["scrapbook"]["name"]
        for _, output in outputs(notebook)
        if "scrapbook" in output.get("metadata", {})
    }
    assert asked <= glued, f"not computed: {asked - glued}"


def test_parameters_are_those_of_the_set_and_hidden(chapter):
    name, notebook = chapter
    injected = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    own = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(injected) == bool(SMOKE[name] or re.search(r"^run = ", "".join(own), re.M))
    for cell in injected:
        assert "remove-cell" in cell.metadata["tags"]
        given = {}
        exec(cell.source, given)  # assignments of literals, written by papermill
        assert {key: given[key] for key in SMOKE[name]} == SMOKE[name]
        assert given.get("run", "runs/smoke") == "runs/smoke"


def test_no_widget_states_are_saved(chapter):
    assert "widgets" not in chapter[1].metadata


def test_every_figure_has_a_caption_and_words_for_those_who_do_not_see_it(chapter):
    _, notebook = chapter
    for place, cell in enumerate(notebook.cells):
        kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        drawn = kinds & {"image/png", "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"}
        pages = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
        both = [page for page in pages if "<picture>" in page]  # a figure in two layouts
        if not (drawn or both) or any("wmhqc-plain" in page for page in pages):  # "Predict first" says what it is
            continue
        following = [c for c in notebook.cells[place + 1 :] if not {"remove-cell"} & set(c.metadata.get("tags", []))]
        assert following[0].cell_type == "markdown" and re.match(r"\*(Figure|Table|Explorer)\b", following[0].source), (
            cell.source
        )
        assert all(len(re.search(r'alt="([^"]*)"', page)[1]) > 20 for page in both), cell.source
        if "image/png" in drawn:
            assert len(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")) > 20, cell.source
        for output in cell.outputs:
            data = output.get("data", {})
            if "application/vnd.plotly.v1+json" in data:
                assert len(data["application/vnd.plotly.v1+json"]["layout"]["meta"]["alt"]) > 20
            if "application/vnd.jupyter.widget-view+json" in data:
                assert "explorer.render" in data["text/html"]  # the view that needs no kernel
