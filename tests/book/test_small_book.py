"""Two small pages go through papermill, Jupyter Book and the browser with the book's own configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import repository
from browser import check_page, watch

ROOT = Path(__file__).resolve().parents[2]

INDEX = """# Start

Entropy $H = -\\sum p \\log_2 p$ {cite:p}`williams2021`, see [a page](page.ipynb).

```{bibliography}
```
"""

PAGE = """---
kernelspec: {name: python3, display_name: Python 3}
---

# A page with the word hyperintensity

```{code-cell} ipython3
import numpy as np, pandas as pd
import plotly.graph_objects as go
from wmhqc import view

rng = np.random.default_rng(0)
table = pd.DataFrame({"q": rng.random(40), "lesion_dice": rng.random(40)})
view.threshold(table, "q", confidence=1)
```

```{code-cell} ipython3
view.threshold(table, "q", confidence=-1, threshold=0.5)
```

```{code-cell} ipython3
layout = {"meta": {"alt": "Synthetic cases"}, "title": "Cases", "paper_bgcolor": "white", "font": {"color": "#222222"}}
go.Figure(go.Scatter(x=table["q"], y=table["lesion_dice"], mode="markers"), layout)
```
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The built HTML folder."""
    import jupytext
    import papermill

    folder = tmp_path_factory.mktemp("small")
    (folder / "book").mkdir()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    (folder / "_config.yml").write_text(yaml.safe_dump(repository.configure(config, "https://github.com/some/fork")))
    shutil.copytree(ROOT / "book" / "_assets", folder / "book" / "_assets")
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/page\n")
    (folder / "book" / "index.md").write_text(INDEX)
    source = folder / "page.ipynb"
    jupytext.write(jupytext.reads(PAGE, fmt="md:myst"), source)
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    try:
        done = papermill.execute_notebook(source, None, kernel_name="python3", progress_bar=False)
    finally:
        del os.environ["PLOTLY_RENDERER"]
    done.metadata.pop("widgets")  # the saved widget state: the page has its own copy
    jupytext.write(done, folder / "book" / "page.ipynb", fmt="ipynb")
    source.unlink()
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(folder), "-W", "-n", "--keep-going"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder / "_build" / "html"


@pytest.mark.parametrize("name", ["book/index.html", "book/page.html", "search.html", "genindex.html"])
def test_every_page_is_in_order(page, book, name):
    assert check_page(page, (book / name).as_uri()) == []


def test_page_names_no_outside_script_and_carries_the_state_once(book):
    text = (book / "book" / "page.html").read_text()
    for name in ("require.js", "unpkg", "jsdelivr", "cdnjs", "fonts.googleapis", "widget-state"):
        assert name not in text
    assert text.count('"left_out":0') == 2
    assert "colab.research.google.com/github/some/fork/blob/notebooks/book/page.ipynb" in text
    assert "plotly" not in (book / "book" / "index.html").read_text()


def test_plotly_waits_for_the_reader_and_follows_theme_and_width(page, book):
    problems = watch(page)
    page.set_viewport_size({"width": 1280, "height": 500})
    page.goto((book / "book" / "page.html").as_uri())
    page.wait_for_timeout(300)
    assert page.locator("script[src*='plotly.min.js']").count() == 0
    figure = page.locator(".wmhqc-plotly")
    figure.scroll_into_view_if_needed()
    page.locator(".wmhqc-plotly .main-svg").first.wait_for()
    assert page.get_by_role("figure", name="Synthetic cases").count() == 1
    colour = "getComputedStyle(document.querySelector('.wmhqc-plotly .xtick text')).fill"
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    light = page.evaluate(colour)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"(light) => {colour} !== light", arg=light)
    page.set_viewport_size({"width": 400, "height": 500})
    page.wait_for_function("document.querySelector('.wmhqc-plotly .main-svg').getBoundingClientRect().width < 400")
    assert not problems


def test_search_works_from_a_file(page, book):
    problems = watch(page)
    page.goto((book / "search.html").as_uri() + "?q=hyperintensity")
    page.locator("#search-results a").first.wait_for()
    assert "A page with the word hyperintensity" in page.locator("#search-results").inner_text()
    assert not problems


def test_formulas_are_drawn_offline(page, book):
    problems = watch(page)
    page.goto((book / "book" / "index.html").as_uri())
    page.locator("mjx-container").first.wait_for()
    assert not problems
