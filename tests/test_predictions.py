"""Commit first: what a question carries, and the numbers of the reader's own reliability."""

import html

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhqc import view


def test_kinds_of_question_follow_from_the_answer():
    choice = view.commit("Which?", "a", ["a", "b"])
    number = view.commit("How much?", 3, within=0.5, unit="ml")
    order = view.commit("In which order?", ["b", "a"], ["a", "b"])
    assert [widget.data["kind"] for widget in (choice, number, order)] == ["choice", "number", "order"]
    assert [widget.data["spoken"] for widget in (choice, number, order)] == ["a", "3 ml", "b, a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"answer": "c", "options": ["a", "b"]}, "one of two options"),
        ({"answer": "a", "options": ["a"]}, "one of two options"),
        ({"answer": ["a"], "options": ["a", "b"]}, "each of the options once"),
        ({"answer": ["a", "a"], "options": ["a", "a"]}, "each of the options once"),
        ({"answer": float("nan")}, "finite number"),
        ({"answer": 1.0, "within": -1}, "0 or more"),
    ],
)
def test_questions_without_an_answer_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        view.commit("?", **given)


def test_without_a_script_the_answer_is_a_folding():
    page = view.commit("Is 1 < 2?", "yes", ["yes", "no"], because="Count.").to_html()
    before = page.split("<style>")[0]
    assert "<details" in before and html.escape("Is 1 < 2?") in before and "yes. Count." in before
    assert "<noscript>" not in before
    assert "<noscript>" in view.calibration().to_html()


def test_networks_are_pooled_by_voxels():
    table = pd.DataFrame({"probability": [0.12, 0.18, 0.9], "frequency": [0.1, 0.4, 1.0], "voxels": [30, 10, 5]})
    assert np.allclose(view.calibration(table).data["network"], [[0.135, 0.175], [0.9, 1.0]])
    assert view.calibration().data["network"] == []


def test_a_readers_numbers_by_hand():
    found = view.calibration_numbers([0.9, 0.9, 0.5, 0.5], [True, True, True, False])
    assert found["sure"] == pytest.approx(0.7) and found["right"] == 0.75
    assert found["brier"] == pytest.approx((0.01 + 0.01 + 0.25 + 0.25) / 4)
    assert found["auroc"] == pytest.approx(5 / 6)  # of three pairs two are in order, one is tied
    assert found["bins"] == [(0.5, 0.5, 2), (0.9, 1.0, 2)]
    assert np.isnan(view.calibration_numbers([0.6], [True])["auroc"])


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=30))
def test_every_answer_is_in_one_bin(answers):
    sure, right = np.array([a / 10 for a, _ in answers]), [b for _, b in answers]
    found = view.calibration_numbers(sure, right)
    assert sum(n for *_, n in found["bins"]) == len(answers)
    assert sum(n * share for _, share, n in found["bins"]) == pytest.approx(sum(right))
    assert 0 <= found["brier"] <= 1
