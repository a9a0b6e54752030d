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


def of_two_kinds(patients=11, synthetic=105, seed=0):
    """Few patients who differ, many synthetic cases that are much alike and a little beside them."""
    rng = np.random.default_rng(seed)
    table = cases(patients + synthetic, seed).assign(synthetic=np.arange(patients + synthetic) >= patients)
    spread = np.where(table["synthetic"], 3, 10)
    for name in FEATURES:
        table[name] = 100 + 12 * ~table["synthetic"] + spread * rng.standard_normal(len(table))
    return table


def test_many_synthetic_cases_do_not_make_patients_strange():
    table, new = of_two_kinds(), of_two_kinds(60, 1, seed=1)[:60]
    odd = [not ood.ood_score(row, table)["in_distribution"] for row in new.to_dict("records")]
    assert np.mean(odd) < 0.2, "11 patients tell about no more than one in twelve"
    far = of_two_kinds().iloc[0].to_dict() | {name: 100 - 40 * (-1) ** i for i, name in enumerate(FEATURES)}
    assert not ood.ood_score(far, table)["in_distribution"]


def test_with_one_kind_it_is_the_distance_of_ledoit_and_wolf():
    from sklearn.covariance import LedoitWolf

    table = cases()
    values = table[list(FEATURES)].to_numpy()
    row = like(table, brain_ml=130)
    point = np.array([row[name] for name in FEATURES])
    squared = LedoitWolf().fit(values / values.std(axis=0)).mahalanobis([point / values.std(axis=0)])[0]
    assert np.isclose(ood.ood_score(row, table)["score"], np.sqrt(squared / len(point)))
    same = ood.ood_score(row, table.assign(synthetic=True))
    assert same["score"] == ood.ood_score(row, table)["score"]
