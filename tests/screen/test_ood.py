"""The out-of-distribution score."""

import numpy as np
import pandas as pd
from scans import cases, like

from wmhqc.features import FEATURES
from wmhqc.screen import ood


def test_likeness_of_the_middle_and_of_the_outside():
    table = cases()
    assert ood.ood_score(like(table), table)["in_distribution"] is True
    found = ood.ood_score(like(table, height_mm=200, brain_ml=400), table)
    assert found["in_distribution"] is False and found["score"] > found["limit"]
    assert [item["name"] for item in found["outside"]] == ["brain_ml", "height_mm"]
    assert found["outside"][0]["value"] == 400 > found["outside"][0]["high"]


def test_likeness_knows_that_features_go_together():
    table = cases()
    rng = np.random.default_rng(1)
    common = rng.standard_normal(len(table))
    for name in FEATURES:
        table[name] = 100 + 10 * common + rng.standard_normal(len(table))
    apart = like(table) | {name: 100 + 15 * (-1) ** i for i, name in enumerate(FEATURES)}
    found = ood.ood_score(apart, table)
    # Each value alone is ordinary, both at once are not.
    assert found["outside"] == [] and found["in_distribution"] is False


def test_likeness_seldom_names_a_case_of_the_same_kind():
    table = cases(160)
    taken = [not ood.ood_score(row, table[:60])["in_distribution"] for row in table[60:].to_dict("records")]
    assert np.mean(taken) < 0.12  # one in twenty, and a little luck


def test_an_odd_calibration_case_does_not_make_all_scans_alike():
    table = cases()
    strange = like(table, brain_ml=400, height_mm=300)
    assert ood.ood_score(strange, table)["in_distribution"] is False
    head = table.iloc[0].to_dict() | {"case": "head", "brain_ml": 900, "height_mm": 600}
    found = ood.ood_score(strange, pd.concat([table, pd.DataFrame([head])], ignore_index=True))
    assert (
        found["in_distribution"] is False and "were left out: head" in found["words"] and found["cases"] == len(table)
    )


def test_a_constant_feature_has_a_narrow_range():
    table = cases().assign(largest_edge_mm=3.0)
    assert ood.ood_score(like(table, largest_edge_mm=3.01), table)["in_distribution"] is True
    assert ood.ood_score(like(table, largest_edge_mm=6.0), table)["in_distribution"] is False


def test_likeness_is_unknown_with_few_cases():
    found = ood.ood_score(like(cases()), cases()[:19])
    assert found["in_distribution"] is False and "19 scans only" in found["words"]
    assert ood.ood_score(like(cases()), cases().drop(columns=list(FEATURES)))["in_distribution"] is False
