"""Plotly's figures as HTML for the book."""

import json
import re
from importlib.metadata import entry_points
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest

from wmhqc.book import plotly_page

FIGURE = json.loads(go.Figure(go.Scatter(y=[1, 2]), {"title": "</script><b>", "height": 300}).to_json())


def test_the_figure_comes_back_and_cannot_end_its_script():
    html = plotly_page.to_html(FIGURE)
    state = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html).group(1))
    assert state["data"] == FIGURE["data"] and state["layout"]["title"] == FIGURE["layout"]["title"]
    assert html.count("</script>") == 2 and "<b>" not in html
    assert 'aria-label="&lt;/script&gt;&lt;b&gt;"' in html and "min-height: 300px" in html


def test_meta_alt_is_the_name_and_a_figure_without_a_name_is_refused():
    named = {"data": [], "layout": {"meta": {"alt": "What it shows"}, "title": {"text": "T"}}}
    assert 'aria-label="What it shows"' in plotly_page.to_html(named)
    with pytest.raises(ValueError, match="accessible name"):
        plotly_page.to_html({"data": [], "layout": {}})


def test_only_plotly_is_handled_and_a_nameless_figure_is_a_warning():
    warnings = []
    renderer = SimpleNamespace(logger=SimpleNamespace(warning=lambda text, **_: warnings.append(text)))

    def handle(mime, content, inline=False):
        data = SimpleNamespace(mime_type=mime, content=content, cell_index=3, line=1)
        return plotly_page.PlotlyRenderer.handle_mime(renderer, data, inline)

    assert handle("text/html", "<p>") is None and handle(plotly_page.MIME, FIGURE, inline=True) is None
    assert "wmhqc-plotly" in handle(plotly_page.MIME, FIGURE)[0].astext()
    assert handle(plotly_page.MIME, {"data": [], "layout": {}}) == [] and "cell 3" in warnings[0]


def test_the_book_finds_the_renderer():
    found = entry_points(group="myst_nb.mime_renderers")
    assert any(entry.load() is plotly_page.PlotlyRenderer for entry in found)
