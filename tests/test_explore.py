"""The numbers behind the explorers, and the HTML that carries them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhqc import explore

SCORE = [0.9, 0.8, 0.6, 0.4, 0.2]
DICE = [0.8, 0.3, 0.7, 0.4, 0.6]


def table(**columns):
    return pd.DataFrame({"case": list("abcde"), "q": SCORE, "lesion_dice": DICE, **columns})


def test_counts_of_a_worked_example():
    # 0.4 and 0.2 are flagged: one failure (Dice 0.4) caught, one good case (0.6) in review,
    # one failure (0.3) used.
    numbers = explore.threshold_numbers(SCORE, DICE, 0.5)
    assert (numbers["tp"], numbers["fp"], numbers["fn"], numbers["tn"]) == (1, 1, 1, 2)
    assert numbers["sensitivity"] == 1 / 2 and numbers["ppv"] == 1 / 2
    assert numbers["specificity"] == 2 / 3 and numbers["npv"] == 2 / 3
    assert numbers["coverage"] == 3 / 5
    assert numbers["dice_before"] == pytest.approx(0.56)
    assert numbers["dice_after"] == pytest.approx(0.6)


def test_a_score_at_the_threshold_is_used_and_a_dice_at_tau_is_good():
    numbers = explore.threshold_numbers([1.0], [0.5], 1.0, tau=0.5)
    assert numbers["tn"] == 1
    assert explore.threshold_numbers([1.0], [0.5], 1.0, tau=0.5, confidence=-1)["tn"] == 1


def test_nothing_flagged_leaves_ppv_undefined_not_one():
    numbers = explore.threshold_numbers(SCORE, DICE, -1)
    assert np.isnan(numbers["ppv"]) and numbers["sensitivity"] == 0
    everything = explore.threshold_numbers(SCORE, DICE, 2)
    assert np.isnan(everything["npv"]) and np.isnan(everything["dice_after"])


def test_cases_without_a_number_are_left_out_and_counted():
    numbers = explore.threshold_numbers([np.nan, *SCORE], [0.1, *DICE], 0.5)
    assert numbers == {**explore.threshold_numbers(SCORE, DICE, 0.5), "left_out": 1}


cases = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10)), min_size=1, max_size=30)


@given(cases, st.integers(-1, 10), st.integers(0, 10))
def test_turning_the_score_around_changes_nothing(cases, threshold, tau):
    scores, dice = np.array(cases, float).T
    up = explore.threshold_numbers(scores, dice / 10, threshold, tau / 10, 1)
    down = explore.threshold_numbers(-scores, dice / 10, -threshold, tau / 10, -1)
    assert str(up) == str(down)
    assert up["tp"] + up["fp"] + up["fn"] + up["tn"] == up["cases"] == len(cases)


def test_the_page_has_the_state_and_one_module_and_asks_for_nothing():
    widget = explore.threshold(table(), "q", confidence=1, threshold=0.5)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()[0]
    state = json.loads(re.search(r"^const state = (.*);$", page, re.M).group(1))
    assert state["cases"]["score"] == SCORE and state["value"] == 0.5 and state["tau"] == 0.5
    assert page.count("export default") == 0 and page.count("const explorer =") == 1
    outside = set(re.findall(r"https?://[^\s\"'`]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside and "import" not in re.findall(r"^\w+", page, re.M)


def test_no_name_of_a_case_can_end_the_script():
    page = explore.threshold(table(case=["</script><b>", "<!--", "c", "d", "e"]), "q", confidence=1).to_html()
    assert page.count("</script>") == 1 and "<!--" not in page and "<b>" not in page


def test_a_widget_shown_twice_has_two_ids():
    widget = explore.threshold(table(), "q", confidence=1)
    ids = [re.search(r'id="(.+?)"', widget.to_html()).group(1) for _ in range(2)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "nothing"}, "no column 'nothing'"),
        ({"dice": "nothing"}, "no column 'nothing'"),
        ({"confidence": 0}, "must be \\+1"),
        ({"tau": 50}, "0 to 1"),
        ({"presets": (("drop", 0.5),)}, "preset"),
        ({"table": table(lesion_dice=[80, 30, 70, 40, 60])}, "5 do not"),
        ({"table": table(q=[np.nan] * 5)}, "no row"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        explore.threshold(**{"table": table(), "score": "q", "confidence": 1, **change})
