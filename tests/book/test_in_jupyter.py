"""The explorers as Jupyter loads them: anywidget imports `_esm` as a module, and Python moves it through the model."""

import numpy as np
import pytest
from test_artefacts import THRESHOLDS, spoilt
from test_dropout import explorer
from test_explorers import TEST, block, write
from test_table import FRAME, SHOWN
from test_trays import SCORES, TABLE, picture

from wmhqc import view

LOAD = """async ([esm, state, changes]) => {
  const module = await import('data:text/javascript;base64,' + btoa(unescape(encodeURIComponent(esm))));
  const heard = {};
  const model = {
    get: (key) => state[key], set: (key, value) => { state[key] = value; }, save_changes() {},
    on: (event, call) => { heard[event] = call; }, off: (event) => { delete heard[event]; },
  };
  const el = document.body.appendChild(document.createElement('div'));
  const leave = module.default.render({ model, el });
  const root = el.querySelector('.wmhqc');
  for (let i = 0; i < 200 && !Object.keys(root.dataset).length; i++) await new Promise((done) => setTimeout(done, 50));
  await new Promise((done) => setTimeout(done, 200));
  for (const [name, value] of Object.entries(changes)) {
    state[name] = value;
    heard['change:' + name]();
  }
  const shown = { ...root.dataset, first: root.querySelector('tbody th')?.textContent };
  leave();
  return [shown, Object.keys(heard).length];
}"""

#: kind -> what makes the explorer, what Python changes, what the page then shows
KINDS = {
    "threshold": (lambda: view.threshold(TEST, "q", confidence=1), {"value": 0.25}, {"value": "0.25"}),
    "slices": (lambda: view.slices({"Image": np.ones((4, 4, 4))}), {"slice": 1}, {"slice": "1"}),
    "cases": (
        lambda: view.cases(TEST, {"sub-00": block(4, 2), "sub-01": block(8, 3)}, "q"),
        {"case": "sub-01"},
        {"case": "sub-01"},
    ),
    "burden": (lambda: view.burden(TEST, ["q", "vs"], draws=20), {"measure": "spearman"}, {"measure": "spearman"}),
    "table": (
        lambda: view.table(FRAME, SHOWN, ["family"]),
        {"chosen": {"family": "dropout"}, "descending": True, "sort": "year"},
        {"shown": "2", "first": "alpha, 2020"},
    ),
    "quiz": (lambda: view.quiz([picture("a", 2)] * 2, [0.1, 0.9], [1, 2], [1, 2]), {"looked": [1]}, {"looked": "1"}),
    "trays": (lambda: view.trays(TABLE, list(SCORES)), {"looks": 16}, {"looks": "16"}),
    "hold": (lambda: view.hold(TABLE, {"volume_ml": ("a", "b")}), {"count": 9}, {"count": "9"}),
    "passes": (lambda: explorer()[2], {"passes": 2, "rate": 0}, {"passes": "2", "rate": "0.05"}),
    "artefacts": (
        lambda: view.artefacts(spoilt(), THRESHOLDS),
        {"artefact": "spike", "severity": 1},
        {"artefact": "spike", "severity": "0.5"},
    ),
    "guarantee": (view.guarantee, {"cases": 200, "drift": 1.0}, {"cases": "200", "drift": "1"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_python_moves_what_the_page_shows(watched, tmp_path, kind):
    make, changes, expected = KINDS[kind]
    widget, (page, problems) = make(), watched
    page.goto(write(tmp_path / "empty.html"))
    own = set(widget.trait_names(sync=True)) - set(view.Explorer.class_trait_names())
    state = {name: getattr(widget, name) for name in own}
    shown, left = page.evaluate(LOAD, [str(widget._esm), state, changes])
    assert {name: shown[name] for name in expected} == expected and left == 0
    assert not problems
