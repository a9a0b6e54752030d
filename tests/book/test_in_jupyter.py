"""The explorers as Jupyter loads them: an ES module, and a model that Python moves."""

import pytest
from test_artefacts import THRESHOLDS, spoilt
from test_dropout import explorer
from test_explorers import write

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
  for (const [name, value] of Object.entries(changes)) {
    state[name] = value;
    heard['change:' + name]();
  }
  const shown = { ...root.dataset };
  leave();
  return [shown, Object.keys(heard).length];
}"""


@pytest.mark.parametrize("kind", ["passes", "artefacts", "guarantee"])
def test_python_moves_what_the_page_shows(watched, tmp_path, kind):
    widget, changes, expected = {
        "passes": (explorer()[2], {"passes": 2, "rate": 0}, {"passes": "2", "rate": "0.05"}),
        "artefacts": (
            view.artefacts(spoilt(), THRESHOLDS),
            {"artefact": "spike", "severity": 1},
            {"artefact": "spike", "severity": "0.5"},
        ),
        "guarantee": (view.guarantee(), {"cases": 200, "drift": 1.0}, {"cases": "200", "drift": "1"}),
    }[kind]
    page, problems = watched
    page.goto(write(tmp_path / "empty.html"))
    own = set(widget.trait_names(sync=True)) - set(view.Explorer.class_trait_names())
    state = {name: getattr(widget, name) for name in own}
    shown, left = page.evaluate(LOAD, [str(widget._esm), state, changes])
    assert {name: shown[name] for name in expected} == expected and left == 0
    assert not problems
