"""Which judged scans are shown, what is said of them, and the tables: from records made up, with known answers."""

import dataclasses
import types

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc import cohort, thresholds
from wmhqc.book import examples, sentences
from wmhqc.features import FEATURES
from wmhqc.screen import calibration, report

FEATURE = next(iter(FEATURES))


def record(case, verdict="accept", true=0.7, value=0.68, synthetic=False, unlike=False):
    """As `judge` gives it: accepted from 0.53 on."""
    findings = []
    if unlike:
        findings.append({"kind": "scan", "short": "The scan is unlike the calibration cases.", "detail": ""})
    elif verdict == "review":
        findings.append({"kind": "doubt", "short": "The predicted Dice is too low.", "detail": ""})
    return {
        "case": case, "verdict": verdict, "synthetic": synthetic, "findings": findings,
        "reasons": [finding["short"] for finding in findings],
        "truth": {} if true is None else {"lesion_dice": true, "dice_on_scan": true},
        "predicted_dice": {"value": value, "low": value - 0.1, "high": value + 0.1, "level": 0.9, "valid": not unlike},
        "guarantee": {"possible": True, "threshold": 0.53, "risk": 0.28, "level": 0.9, "failure": "a Dice below 0.5"},
        "ood": {"in_distribution": not unlike, "score": 2.0 if unlike else 0.8, "limit": 1.5,
                "outside": [{"name": FEATURE}] if unlike else []},
        "orientation": {"upright": True},
        "scores": {"predicted_dice_mask": value, "expected_dice": value, "agreement_dice": 1 - value, "volume_ml": 9.0},
    }  # fmt: skip


@pytest.fixture
def records():
    """Three accepted patients, two rightly and two wrongly for review, a synthetic one that is worse than all."""
    return [
        record("sub-a", true=0.9),
        record("sub-b", true=0.6),
        record("sub-c", true=0.7),
        record("sub-d", "review", 0.1, 0.2),
        record("sub-e", "review", 0.4, 0.4),
        record("sub-f", "review", 0.58, 0.51),
        record("sub-g", "review", 0.55, 0.6, unlike=True),
        record("sub-h", "review", 0.0, 0.1, synthetic=True),
        record("sub-i", "review", None, 0.3),
    ]


def seen(records):
    return [examples.Seen(found, found["case"]) for found in records]


def test_the_patients_of_the_reference_run_are_judged_from_its_tables():
    found = examples.of_reference()
    shown = examples.choose(found)
    one = shown["accepted"]
    low, high, true = one["predicted_dice"]["low"], one["predicted_dice"]["high"], one["truth"]["lesion_dice"]
    assert len(found) == 11 and {"accepted", "rightly"} <= set(shown)
    assert low < true < high and true >= 0.5 and one["reasons"] == []
    assert one["failure"]["high"] < one["guarantee"]["risk"] < 0.4  # the chance is smaller than the share guaranteed
    assert (one["guarantee"]["cases"], one["calibration_cases"]) == (10, 115)


def test_one_of_each_kind_is_chosen_by_rule(records):
    chosen = examples.choose(records)
    assert {kind: found["case"] for kind, found in chosen.items()} == {
        "accepted": "sub-c",
        "rightly": "sub-d",
        "wrongly": "sub-f",
    }


def test_synthetic_ones_stand_in_where_there_is_no_patient_and_a_kind_may_be_missing(records):
    assert examples.choose(records[7:])["rightly"]["case"] == "sub-h"
    assert set(examples.choose(records[:3])) == {"accepted"} and examples.choose([]) == {}
    assert examples.told(None, "wrongly", of=4) == (
        "Of the scans of this run (4) none with a manual mask was wrongly kept for review."
    )


def test_what_is_told_of_a_scan(records):
    text = examples.told(records[0])
    assert text.startswith(
        "**Accept: sub-a, a patient.** Predicted Dice **0.68 (0.58\u00a0to\u00a00.78)**, true Dice **0.90**."
    )
    assert text.endswith("at most 28 % have a Dice below 0.5, with 90 % certainty.")
    assert "0.02 below 0.53" in examples.told(records[5]) and "certainty" not in examples.told(records[5])
    unlike = examples.told(records[6])
    assert f"most of all in {examples.LABELS[FEATURE][0]}." in unlike and "interval not valid" in unlike


def test_why_when_nothing_can_be_guaranteed(records):
    records[5]["guarantee"]["possible"] = False
    assert examples.why(records[5]) == "The predicted Dice is too low."
    assert examples.guaranteed(records[5]) == "With these calibration cases nothing can be guaranteed."


def test_the_table_has_words_and_no_more_than_five_columns(records):
    table = examples.table(records)
    assert list(table) == ["verdict", "predicted Dice", examples.TRUE, "what speaks against it"]
    assert table.loc["sub-f", "what speaks against it"] == "The predicted Dice is too low."
    assert list(table[examples.TRUE])[2:4] == ["0.70 (0.70)", "0.10 (0.10), failed"]
    assert table.loc["sub-i", examples.TRUE] == ""


def test_outcomes_and_whether_a_guarantee_is_kept(records):
    found = examples.outcomes(records[:8])
    assert found["accepted"].sum() == 3 and found["failed"].sum() == 3 and len(found) == 8
    kept = examples.kept({"patients": found, "nobody": found[:0]})
    assert kept.loc["failed, of the accepted", "patients"] == "0 of 3 (0.00\u00a0to\u00a00.71)"
    assert (kept["nobody"] == "none").all()
    said = sentences.accepted(found)
    assert said.startswith("3 of the 8 patients are accepted; none of them has failed, neither on the networks' grid")
    assert sentences.accepted(found[3:5]) == "None of the 2 patients is accepted."
    assert sentences.accepted(found[:0]) == "No patients with manual masks were available to this run."
    assert sentences.off_by(found).startswith("The predicted Dice is off by 0.0") and sentences.off_by(found[:0]) == ""
    said = sentences.accepted(found.assign(failed=True, failed_on_scan=[True] + 7 * [False]))
    assert said.endswith("3 of them failed on the networks' grid, 1 on the scan's own.")
    assert "; none of them failed on the networks' grid, 3 on the" in sentences.accepted(
        found.assign(failed_on_scan=True)
    )
    assert "Dice of 0.60 to 0.90" in sentences.on_scan(found) and sentences.on_scan(found[3:5]) == ""


def test_a_chance_is_told_from_the_guarantee(records):
    found = records[0]
    found["failure"] = {"chance": 0.007, "low": 0.001, "high": 0.04, "cases": 115, "synthetic": 105}
    found["guarantee"]["cases"] = 10
    said = sentences.chance_of(found)
    assert said.startswith("< 1 % for sub-a (90 % interval < 1 % to 4 %). That is not the guarantee: “at most 28 %”")
    assert "10 cases stand behind it" in said and said.endswith("all 115 labelled cases, 105 of them synthetic.")
    found["failure"]["synthetic"] = 0
    assert report.share_or_chance(found).endswith("all 115 labelled cases.")
    found["guarantee"]["possible"] = False
    assert report.share_or_chance(found) == ""
    found["failure"]["chance"] = None
    assert sentences.chance_of(found).startswith("not known")


def test_four_kinds_of_sure_are_told_of_the_middle_one_that_is_accepted():
    numbers = {"predicted_dice": 0.64, "low": 0.55, "high": 0.73, "chance": 0.007, "chance_low": 0.001}
    numbers |= {"chance_high": 0.04, "risk": 0.3187, "failed": False}
    tested = pd.DataFrame([{"case": f"sub-{k}", "lesion_dice": k / 10, "accepted": k > 4, **numbers} for k in range(8)])
    case, table = examples.sure(tested)
    assert case == "sub-6" and table["here"].str.replace("\u00a0", " ").tolist() == [
        "0.64 (0.55 to 0.73)",
        "< 1 % (< 1 % to 4 %)",
        "at most 32 % fail, with 90 % certainty",
        "0 of 3 failed (0 to 71 %)",
    ]
    case, table = examples.sure(tested.assign(accepted=False, risk=np.nan))
    assert case == "sub-3" and table["here"].tolist()[2:] == ["nothing", "none was accepted"]


def test_how_near_a_mask_was(records):
    errors = pd.Series([0.03, 0.05])
    assert "off by 0.04 on average: so near" in sentences.missed(records[5], errors)
    assert "further off than most" in sentences.missed(records[3], errors)
    assert sentences.missed(records[6], errors) == sentences.missed(None, errors) == ""


def test_the_guarantee_in_words():
    choice = thresholds.Choice(0.5, "", 0.2803, 0.636)
    rule = types.SimpleNamespace(possible=True, choice=choice, level=0.9)
    assert (
        sentences.guarantee(rule)
        == "at most 29 % of the accepted fail, with 90 % certainty, and about 64 % are accepted"
    )
    rule.possible = False
    assert sentences.guarantee(rule) == "nothing can be guaranteed with these calibration cases"


def test_scans_of_another_kind(records):
    odd = seen([records[3], records[6] | {"orientation": {"upright": False}}])
    odd.append(examples.Seen({"case": "sub-x"}, "sub-x, no brain mask", problem="the skull is there"))
    table = examples.strangers_table(odd)
    assert table.loc["sub-x, no brain mask", "what speaks against it"] == "the skull is there"
    assert table.loc["sub-g", "distance"] == 2
    said = sentences.strangers(odd)
    assert said.startswith("None of the 2 that are judged is accepted. The predicted Dice alone would let pass: sub-g.")
    assert "does so for 1, and not for: sub-d." in said and said.endswith("than the header says: sub-g.")
    assert "wrongly: sub-a" in sentences.strangers(seen(records[:1]))
    assert (
        "takes 1 of these scans for ones of that kind: sub-d, for review as “The predicted Dice is too low”."
        in sentences.alike(odd)
    )
    assert sentences.alike(odd[1:]) == "The distance tells each of these scans from the calibration cases."
    assert "sub-a, which is accepted" in sentences.alike(seen(records[:1]))
    assert sentences.given_away(odd) == 1
    assert "gives all of them away" in sentences.strangers(seen(records[3:4]))
    assert sentences.told(odd[2]) == "It is refused: the skull is there"
    assert sentences.told(odd[0]).startswith("Review: The predicted Dice is too low. Predicted Dice 0.20")


def test_masks_of_other_programs(records):
    rows = [{"case": case, "program": program} for case in ("sub-d", "sub-f") for program in ("p", "q")]
    judged = [record("x", "review", true, true - 0.05) for true in (0.3, 0.2, 0.7)] + [record("x", "review", 0.5, 0.35)]
    table = examples.masks_table(rows, judged)
    assert list(table["mask"])[:2] == ["sub-d, p", "sub-d, q"]
    said = sentences.masks(table, {found["case"]: found for found in records})
    assert next(iter(sentences.ranked_masks(table))) == "predicted"
    assert "predicted 1.00" in said and "3 of the 4 masks beat our own" in said and "not settled" in said
    said = sentences.of_others(table, judged)
    assert said.startswith("The verdict is *review* for 4 of the 4 masks. The numbers")
    assert "at worst predicted 0.35, true 0.50 (sub-f, q) and expected 0.35" in said
    for found in judged:
        found["guarantee"]["possible"] = False
    assert "Nothing is guaranteed for any" in sentences.of_others(table, judged)
    assert sentences.of_others(examples.masks_table([], []), []) == ""
    assert sentences.masks(examples.masks_table([], []), {}) == (
        "No masks of other programs were available to this run."
    )


def test_too_few_patients_are_not_ranked(records):
    board, said = sentences.ranking(records[:2])
    assert board.empty and said.startswith("Too few")


def test_strangers_are_made_of_a_scan(scan, tmp_path):
    rows = examples.strangers(scan, scan, [scan | {"brainmask": ""}, scan | {"brainmask": "b.nii"}], tmp_path / "odd")
    assert [row.get("called", "").split(", ")[-1] for row in rows] == [
        "upside down", "light and dark exchanged", "T1 and FLAIR exchanged", "", "", "no brain mask",
    ]  # fmt: skip
    before, turned = (np.asarray(nib.load(row["flair"]).dataobj) for row in (scan, rows[0]))
    assert np.array_equal(turned, before[:, :, ::-1])
    assert rows[2]["t1"] == scan["flair"] and rows[2]["case"] == scan["case"], (
        "so judged by networks that do not know it"
    )


def test_a_scan_is_judged_and_its_slice_kept(scan, judged):
    network = {"mc_unet": [types.SimpleNamespace(input_shape=(None, 32, 32, 32, 2))]}
    found = examples.look(scan, network, calibration.reference_cases())
    assert found.name == scan["case"] and found.record["verdict"] in ("accept", "review") and not found.problem
    assert found.slice.predicted.any() and found.slice.manual.any()
    outlined, plain = examples.panels(found.slice).values()
    assert "outline" not in plain and outlined["image"] is found.slice.flair


def test_a_refused_scan_says_why(scan, monkeypatch):
    def refuse(*arguments, **options):
        raise cohort.CohortError(
            pd.DataFrame({"case": ["a"], "file": ["f"], "problem": ["is dark"], "action": ["light"]})
        )

    monkeypatch.setattr(examples, "judge", refuse)
    assert dataclasses.astuple(examples.look(scan))[2:] == (None, "is dark")
