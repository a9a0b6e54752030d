"""The widget that every explorer is, and its view on a page without Python."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import anywidget

_FOLDER = Path(__file__).parent
_shown = itertools.count(1)  # so that one widget shown twice on a page gets two ids

# What a page needs beside the module: the `model` that Jupyter would have handed to it.
_PAGE = """<div class="wmhqc-static" id="{id}">{plain}</div>
<style>{css}</style>
<script type="module">
{module}
const state = {state};
explorer.render({{
  model: {{
    get: (name) => state[name],
    set: (name, value) => {{ state[name] = value; }},
    save_changes() {{}}, on() {{}}, off() {{}},
  }},
  el: document.getElementById("{id}"),
}});
</script>"""


class Explorer(anywidget.AnyWidget):
    """A widget that also carries a `text/html` view which needs no kernel.

    A subclass names its ES module in `_esm` (ending in `export default { render }`) and
    declares what the module reads as traits with `sync=True`.
    """

    _css = _FOLDER / "explore.css"

    def plain(self) -> str:
        """What a page shows where no script runs."""
        return "<noscript>This explorer needs JavaScript.</noscript>"

    def to_html(self) -> str:
        """Return the explorer as a piece of HTML that works on its own, also offline."""
        names = set(self.trait_names(sync=True)) - set(anywidget.AnyWidget.class_trait_names())
        state = {name: getattr(self, name) for name in sorted(names) if name[0] != "_"}
        # `<` can only stand inside strings of this JSON; written as an escape it can
        # neither end the script element nor open a comment.
        state = json.dumps(state, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        digest = hashlib.sha256(state.encode()).hexdigest()[:8]
        return _PAGE.format(
            id=f"wmhqc-{digest}-{next(_shown)}",
            plain=self.plain(),
            css=str(self._css),
            module=str(self._esm).replace("export default", "const explorer ="),
            state=state,
        )

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/html": self.to_html()}, metadata


def numbers(values) -> list[float | None]:
    """Numbers as JSON has them: None where one is undefined (NaN)."""
    return [None if value != value else float(value) for value in values]


def module(*names: str) -> str:
    """Join the JavaScript files of these names to one ES module; the last one exports."""
    return "\n".join((_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)
