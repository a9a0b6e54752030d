"""Networks of one's own: what a folder holds stays until the better is there."""

import pytest

from wmhqc import training
from wmhqc.book import own
from wmhqc.files import read_json


def test_a_finished_network_stays_until_another_is_finished(tmp_path, monkeypatch):
    folder, before, after = tmp_path / "net", {"build": "mc_unet", "size": 32}, {"build": "mc_unet", "size": 64}

    def fit(build, cases, example, validation, place, **options):
        if options.get("killed"):
            raise KeyboardInterrupt
        (place / training.WEIGHTS).write_text(options["weights"])
        return place, None

    monkeypatch.setattr(training, "fit", fit)
    own._fit(folder, before, {}, None, [], weights="old")
    with pytest.raises(KeyboardInterrupt):
        own._fit(folder, after, {}, None, [], killed=True)
    assert (folder / training.WEIGHTS).read_text() == "old" and read_json(folder / "network.json") == before
    own._fit(folder, after, {}, None, [], weights="new")
    assert (folder / training.WEIGHTS).read_text() == "new" and read_json(folder / "network.json") == after
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_training_of_other_cases_that_was_not_finished_is_begun_anew(tmp_path, monkeypatch):
    folder, described, asked = tmp_path / "net", {"build": "mc_unet"}, []

    def fit(build, cases, example, validation, place, **options):
        asked.append(place.name)
        if len(asked) < 3:
            raise training.OtherLineageError("other cases")
        (place / training.WEIGHTS).write_text("new")

    monkeypatch.setattr(training, "fit", fit)
    own._fit(folder, described, {}, None, [])
    assert asked == ["net", "net.new", "net.new"] and (folder / training.WEIGHTS).exists()
