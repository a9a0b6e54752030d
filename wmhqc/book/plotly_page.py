"""Plotly figures on the pages of the book, without a request to outside.

Jupyter Book 1 draws nothing for Plotly's own mime type. `PlotlyRenderer` is a MyST-NB mime
renderer (entry point `myst_nb.mime_renderers`) that writes the figure as JSON beside a
short script; the script loads `plotly.min.js` when the first figure comes into view. The
extension part (`setup`) copies that file from the installed plotly into the built pages.
Execute the chapters with the environment variable `PLOTLY_RENDERER=plotly_mimetype`.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

MIME = "application/vnd.plotly.v1+json"
_LOADER = Path(__file__).with_name("plotly_page.js")


def to_html(figure: dict) -> str:
    """Return a figure as HTML for a page that has `plotly.min.js` in its `_static` folder.

    Parameters
    ----------
    figure : dict
        The figure as Plotly's JSON, with `data` and `layout`. Its accessible name is
        `layout.meta.alt`, or else its title.

    Raises
    ------
    ValueError
        If the figure has neither.
    """
    layout = figure.get("layout", {})
    meta, title = layout.get("meta"), layout.get("title", {})
    name = meta.get("alt") if isinstance(meta, dict) else None
    name = name or (title.get("text") if isinstance(title, dict) else title)
    if not name:
        raise ValueError(
            'a Plotly figure has no accessible name: describe it with fig.update_layout(meta={"alt": "..."})'
        )
    # As in view/widget.py: `<` stands only inside strings, and must not end the script element.
    state = json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":")).replace("<", "\\u003c")
    height = int(layout.get("height", 420))
    return (
        f'<div class="wmhqc-plotly" role="figure" aria-label="{escape(name)}" style="min-height: {height}px">'
        f'<script type="application/json">{state}</script>'
        f"<script>{_LOADER.read_text(encoding='utf-8')}</script></div>"
    )


class PlotlyRenderer:
    """MyST-NB mime renderer for Plotly's mime type, on HTML pages."""

    mime_priority_overrides = [("html", MIME, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        """Return docutils nodes for a Plotly figure, None for any other output."""
        if inline or data.mime_type != MIME:
            return None
        from docutils import nodes

        try:
            html = to_html(data.content)
        except ValueError as error:
            renderer.logger.warning(f"{error} (cell {data.cell_index})", line=data.line)
            return []
        return [nodes.raw(text=html, format="html", classes=["output", "plotly"])]


def setup(app):
    """Sphinx extension: copy plotly.min.js once, if a page has a figure."""
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _copy(app, error):
    if error or app.builder.format != "html":
        return
    from importlib.resources import files

    from sphinx.util.fileutil import copy_asset_file

    if any('class="wmhqc-plotly"' in page.read_text(encoding="utf-8") for page in Path(app.outdir).rglob("*.html")):
        copy_asset_file(str(files("plotly") / "package_data" / "plotly.min.js"), str(Path(app.outdir) / "_static"))
