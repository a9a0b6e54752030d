"""Judging one scan: what comes in, the interval, the likeness, the verdict."""

import importlib.machinery
import json
import math
import shutil
import sys
import types

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc import cohort, preprocess
from wmhqc.features import FEATURES, scan_features
from wmhqc.files import sha256
from wmhqc.screen import brainmask, calibration, discover, inputs, judge, labels, ood, records, verdict


@pytest.fixture
def scan(tmp_path):
    """Write a small scan with one lesion; return its row. The brain is a ball of 800 ml."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    brain = (grid**2).sum(0) < 17**2
    lesion = (np.abs(grid - np.array([6, 4, 2]).reshape(3, 1, 1, 1)) < 2.6).all(0)
    affine = np.diag([3.4, 3.4, 3.4, 1])

    def save(name, array):
        path = tmp_path / "scans" / f"sub-a_{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return str(path)

    noise = rng.normal(0, 20, (2, *brain.shape))
    return {
        "case": "sub-a",
        "t1": save("T1w", np.where(brain, 600 + noise[0], 0).clip(0).astype(np.int16)),
        "flair": save("FLAIR", np.where(brain, 400 + noise[1] + 300 * lesion, 0).clip(0).astype(np.int16)),
        "brainmask": save("brainmask", brain.astype(np.uint8)),
        "lesion": save("lesion", lesion.astype(np.uint8)),
    }


def resave(row, name, change=lambda array: array, affine=None):
    image = nib.load(row[name])
    made = nib.Nifti1Image(change(np.asanyarray(image.dataobj)), image.affine if affine is None else affine)
    path = row[name].replace(".nii.gz", "-new.nii.gz")
    nib.save(made, path)
    return row | {name: path}


def refusal(row, **options):
    with pytest.raises(cohort.CohortError) as refused:
        inputs.read(row, **options)
    return str(refused.value)


# ---------------------------------------------------------------- what comes in


def test_read_gives_images_on_one_grid(scan):
    images = inputs.read(scan)
    assert set(images) == {"t1", "flair", "brainmask", "lesion"}
    assert len({image.shape for image in images.values()}) == 1
    assert set(np.unique(images["lesion"].dataobj)) == {0, 1}


def test_read_names_file_problem_and_action(scan):
    text = refusal(scan | {"t1": scan["flair"]})
    assert "T1 and FLAIR are the same image" in text and scan["flair"] in text and "->" in text
    assert "does not exist" in refusal(scan | {"flair": "nowhere.nii.gz"})
    assert "no T1 given" in refusal({"case": "a", "flair": scan["flair"]})


def test_read_refuses_a_probability_as_segmentation(scan):
    text = refusal(resave(scan | {"segmentation": scan["lesion"]}, "segmentation", lambda a: a * 0.5 + 0.1))
    assert "expected a mask of 0 and one other value" in text and "segmentation" in text


def test_read_takes_an_empty_segmentation(scan):
    images = inputs.read(resave(scan | {"segmentation": scan["lesion"]}, "segmentation", np.zeros_like))
    assert not np.asanyarray(images["segmentation"].dataobj).any()


def test_read_resamples_only_when_asked(scan):
    half = np.diag([1.7, 1.7, 1.7, 1])
    fine = resave(scan, "t1", lambda a: a.repeat(2, 0).repeat(2, 1).repeat(2, 2), half)
    assert "T1 is not on the grid of the FLAIR" in refusal(fine)
    images = inputs.read(fine, resample=True)
    assert images["t1"].shape == images["flair"].shape
    inside = np.asanyarray(images["brainmask"].dataobj) > 0
    assert np.median(np.asanyarray(images["t1"].dataobj)[inside]) == pytest.approx(600, abs=20)


def test_read_recognises_the_whole_head(scan):
    row = resave(resave(scan, "t1", lambda a: a + 1), "flair", lambda a: a + 1)
    text = refusal(row | {"brainmask": ""})
    assert "whole head" in text and "--brainmask" in text and "deepbet" in text and "2515 ml" in text
    assert inputs.read(row)  # with its mask all is well
    assert "brainmask" not in inputs.read(row | {"brainmask": ""}, whole_head=True)


def test_read_refuses_a_mask_that_is_no_brain(scan):
    assert "brain mask has 8 ml" in refusal(scan | {"brainmask": scan["lesion"]})


def test_brain_mask_says_how_to_get_deepbet(scan, tmp_path):
    with pytest.raises(ImportError, match="pip install deepbet"):
        brainmask.extract(nib.load(scan["t1"]), tmp_path)


def test_brain_mask_by_deepbet(scan, tmp_path, monkeypatch):
    """A deepbet of our own, which takes what is brighter than 500 for brain."""

    def run_bet(heads, brains, masks, volumes, no_gpu):
        image = nib.load(heads[0])
        nib.save(nib.Nifti1Image((np.asanyarray(image.dataobj) > 500).astype(np.uint8), image.affine), masks[0])

    deepbet = types.ModuleType("deepbet")
    deepbet.run_bet, deepbet.__spec__ = run_bet, importlib.machinery.ModuleSpec("deepbet", None)
    monkeypatch.setitem(sys.modules, "deepbet", deepbet)
    (tmp_path / "out").mkdir()
    made = brainmask.extract(nib.load(scan["t1"]), tmp_path / "out")
    assert np.array_equal(made.dataobj, nib.load(scan["brainmask"]).dataobj)
    assert list((tmp_path / "out").iterdir()) == []


def test_find_reads_a_bids_data_set(scan, tmp_path):
    root = tmp_path / "bids"
    for session in ("ses-1", "ses-2"):
        anat = root / "sub-a" / session / "anat"
        anat.mkdir(parents=True)
        shutil.copy(scan["flair"], anat / f"sub-a_{session}_acq-3d_FLAIR.nii.gz")
        shutil.copy(scan["t1"], anat / f"sub-a_{session}_T1w.nii.gz")
    masks = root / "derivatives" / "bet" / "sub-a" / "ses-2" / "anat"
    masks.mkdir(parents=True)
    for space in ("", "_space-MNI152"):
        shutil.copy(scan["brainmask"], masks / f"sub-a_ses-2{space}_desc-brain_mask.nii.gz")
    shutil.copy(scan["flair"], masks / "sub-a_ses-2_FLAIR.nii.gz")  # a derivative is no case
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.9.0"}))
    table = discover.discover(root).set_index("case")
    assert list(table.index) == ["sub-a_ses-1_acq-3d", "sub-a_ses-2_acq-3d"]
    assert table["t1"].str.endswith("_T1w.nii.gz").all()
    assert table["brainmask"].map(lambda path: path.rsplit("/")[-1]).tolist() == [
        "",
        "sub-a_ses-2_desc-brain_mask.nii.gz",
    ]


def test_masks_of_other_programs_are_found_beside_the_scan(scan, tmp_path):
    folder = tmp_path / "scans" / "pred"
    folder.mkdir()
    for name in ("sub-a_pred-LPA.nii.gz", "sub-a_pred-BIANCA.nii.gz", "sub-a_prob-LPA.nii.gz", "sub-b_pred-LPA.nii.gz"):
        shutil.copy(scan["lesion"], folder / name)
    found = discover.other_masks(pd.DataFrame([scan]))
    assert found["program"].tolist() == ["BIANCA", "LPA"] and (found["case"] == "sub-a").all()
    assert found["segmentation"].tolist() == [str(folder / f"sub-a_pred-{p}.nii.gz") for p in ("BIANCA", "LPA")]
    none = discover.other_masks(pd.DataFrame([scan | {"flair": str(tmp_path / "elsewhere" / "F.nii.gz")}]))
    assert none.empty and {"segmentation", "program"} <= set(none)


def test_find_takes_the_mask_of_the_t1(scan, tmp_path):
    anat, masks = (tmp_path / "bids" / part / "sub-a" / "anat" for part in ("", "derivatives/fmriprep"))
    anat.mkdir(parents=True), masks.mkdir(parents=True)
    (tmp_path / "bids" / "dataset_description.json").write_text("{}")
    for name in ("acq-space_FLAIR", "acq-mprage_T1w"):
        shutil.copy(scan["flair"], anat / f"sub-a_{name}.nii.gz")
    shutil.copy(scan["brainmask"], masks / "sub-a_acq-mprage_desc-brain_mask.nii.gz")
    assert discover.discover(tmp_path / "bids")["brainmask"].item().endswith("sub-a_acq-mprage_desc-brain_mask.nii.gz")


def test_find_takes_no_mask_of_another_scan_and_none_of_its_own_making(scan, tmp_path, monkeypatch):
    root = tmp_path / "bids"
    anat = root / "sub-a" / "anat"
    anat.mkdir(parents=True)
    for name in ("acq-ax_FLAIR", "acq-sag_FLAIR", "T1w", "ce-gad_T1w"):
        shutil.copy(scan["flair"], anat / f"sub-a_{name}.nii.gz")
    (anat / "._sub-a_acq-ax_FLAIR.nii.gz").write_bytes(b"left by a Mac")
    (anat / "sub-a_acq-new_FLAIR.nii.gz.part").write_bytes(b"half")
    (root / "dataset_description.json").write_text("{}")
    for pipeline, made in (("bet", "bet"), ("wmhqc", "wmhqc")):
        folder = root / "derivatives" / pipeline / "sub-a" / "anat"
        folder.mkdir(parents=True)
        (folder.parents[1] / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [{"Name": made}]}))
        shutil.copy(scan["brainmask"], folder / f"sub-a_acq-{'ax' if made == 'bet' else 'sag'}_desc-brain_mask.nii.gz")
    table = discover.discover(root).set_index("case")
    assert list(table.index) == ["sub-a_acq-ax", "sub-a_acq-sag"]
    assert table["t1"].str.endswith("sub-a_T1w.nii.gz").all(), "not the one with contrast agent"
    assert table["brainmask"].str.endswith("bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz").tolist() == [True, False]
    assert table["brainmask"].iloc[1] == ""
    table = discover.discover(root, {"segmentation": str(root / "derivatives/bet/{path}/{case}_desc-brain_mask.nii.gz")})
    assert table["segmentation"].iloc[0].endswith("bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz")
    monkeypatch.chdir(tmp_path)
    relative = discover.discover("bids", {"segmentation": "bids/derivatives/bet/{path}/{case}_desc-brain_mask.nii.gz"})
    assert relative["segmentation"].iloc[0] == "bids/derivatives/bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz"
    shutil.copy(scan["flair"], anat / "sub-a_run-2_T1w.nii.gz")
    text = refusal(discover.discover(root).iloc[0].to_dict())
    assert "no T1 given" in text and "several lie beside the FLAIR (sub-a_T1w.nii.gz, sub-a_ce-gad_T1w.nii.gz" in text and "--t1" in text
    shutil.copy(scan["flair"], anat / "sub-a_acq-ax_FLAIR.nii")
    with pytest.raises(ValueError, match="sub-a_acq-ax is there more than once"):
        discover.discover(root)


def test_find_fills_templates(scan, tmp_path):
    folder = tmp_path / "scans"
    table = discover.discover(folder, {"segmentation": "{folder}/{case}_lesion.nii.gz"})
    assert table["segmentation"].tolist() == [scan["lesion"]]
    with pytest.raises(FileNotFoundError, match="no case has a file .*_bet.nii.gz"):
        discover.discover(folder, {"brainmask": "{folder}/{case}_bet.nii.gz"})


# ---------------------------------------------------------------- likeness and verdict


def cases(n=60, seed=0):
    """Calibration cases that a threshold can be promised for."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.2, 0.95, n)
    table = pd.DataFrame({"case": [f"c{i}" for i in range(n)], labels.SCORE: predicted})
    table["lesion_dice"] = np.clip(predicted + rng.normal(0, 0.03, n), 0, 1)
    for i, name in enumerate(FEATURES):
        table[name] = 100 + i + 10 * rng.standard_normal(n)
    return table


def like(table, **change):
    """Scores of a case in the middle of the calibration cases."""
    return table[list(FEATURES)].mean().to_dict() | {labels.SCORE: 0.9, "contrast": 0.95} | change


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
    assert found["in_distribution"] is False and "were left out: head" in found["words"] and found["cases"] == len(table)


def test_a_constant_feature_has_a_narrow_range():
    table = cases().assign(largest_edge_mm=3.0)
    assert ood.ood_score(like(table, largest_edge_mm=3.01), table)["in_distribution"] is True
    assert ood.ood_score(like(table, largest_edge_mm=6.0), table)["in_distribution"] is False


def test_likeness_is_unknown_with_few_cases():
    found = ood.ood_score(like(cases()), cases()[:19])
    assert found["in_distribution"] is False and "19 scans only" in found["words"]
    assert ood.ood_score(like(cases()), cases().drop(columns=list(FEATURES)))["in_distribution"] is False


def test_accepts_what_the_promise_holds_for():
    table = cases()
    made = verdict.decide(like(table), table, given=False)
    assert made["verdict"] == "accept" and made["reasons"] == []
    assert made["guarantee"]["applies"] and 0.4 < made["guarantee"]["threshold"] < 0.9
    assert made["predicted_dice"]["low"] < 0.9 < made["predicted_dice"]["high"]


@pytest.mark.parametrize(
    ("change", "applies", "reason"),
    [
        ({"contrast": math.nan, "volume_ml": 0}, True, "The mask is empty"),
        ({"contrast": math.nan}, True, "outside the brain"),
        ({"volume_ml": 900.0}, False, "No calibration case has such a mask: lesion volume"),
        ({labels.SCORE: 0.3}, True, "The predicted Dice 0.30 is below the threshold"),
        ({labels.SCORE: math.nan}, True, "The predicted Dice nan is below"),
        ({"contrast": 0.5}, True, "hardly brighter than its surroundings"),
        ({"brain_ml": 5000}, False, "Most unlike: volume of the brain 5e+03 ml"),
    ],
)
def test_reviews_with_a_reason(change, applies, reason):
    table = cases().assign(volume_ml=np.linspace(0, 50, 60))
    made = verdict.decide(like(table, **change), table, given=False)
    assert made["verdict"] == "review" and made["guarantee"]["applies"] is made["predicted_dice"]["valid"] is applies
    assert len(made["reasons"]) == 1 and reason in made["reasons"][0]


def test_the_interval_is_that_of_the_calibration_cases():
    table = cases(19)
    table["lesion_dice"] = table[labels.SCORE] + np.arange(1, 20) / 100  # errors 0.01 ... 0.19, the 18th of them counts
    found = verdict.decide(like(table, **{labels.SCORE: 0.5}), table, given=False)["predicted_dice"]
    assert (found["low"], found["high"]) == pytest.approx((0.32, 0.68)) and found["cases"] == 19


def test_promises_are_tried_on_cases_that_did_not_make_them():
    table = cases(120)
    validation = table[:60].assign(fold=np.arange(60) % 2)
    test = table[60:].assign(fold=np.arange(60) % 2)
    found = verdict.evaluate_guarantee(validation, test)
    assert found["case"].tolist() == test["case"].tolist()
    assert found["inside"].mean() > 0.8 and 0.3 < found["accepted"].mean() < 0.8
    assert found.loc[found["accepted"], "failed"].mean() <= 0.1
    assert (found["failed"] == (test["lesion_dice"] < 0.5)).all()
    # A test case that is also a validation case of the other fold does not judge itself.
    twice = pd.concat([validation, test[test["fold"] == 0].assign(fold=1, lesion_dice=0.0)])
    assert found[found["fold"] == 0].equals(verdict.evaluate_guarantee(twice, test).query("fold == 0"))


def test_no_promise_with_few_calibration_cases():
    table = cases(21)
    made = verdict.decide(like(table), table, given=False)
    assert made["verdict"] == "review" and not made["guarantee"]["possible"] and not made["guarantee"]["applies"]
    assert "cannot be guaranteed with these cases" in made["reasons"][0]


def test_a_given_segmentation_needs_calibration_of_its_kind():
    table = cases()
    made = verdict.decide(like(table), table, given=True)
    assert made["verdict"] == "review" and "(theirs: our own; this one: a program without a name)" in made["reasons"][0]
    assert not made["guarantee"]["possible"] and not made["predicted_dice"]["valid"]
    theirs = table.assign(judged="given", program="LST")
    assert verdict.decide(like(table), theirs, given=True, program="LST")["verdict"] == "accept"
    other = verdict.decide(like(table), theirs, given=True, program="BIANCA")
    assert other["verdict"] == "review" and "(theirs: LST; this one: BIANCA)" in other["reasons"][0]
    alone = verdict.decide(like(table), theirs[:0], given=True, program="LST")
    assert alone["verdict"] == "review" and "none is left but this patient's own" in alone["reasons"][0]


def test_a_given_mask_that_agrees_less_than_any_calibration_case_is_for_review():
    table = cases().assign(judged="given", agreement_dice=np.linspace(0.5, 0.9, 60))
    assert verdict.decide(like(table, agreement_dice=0.7), table, given=True)["verdict"] == "accept"
    made = verdict.decide(like(table, agreement_dice=0.0), table, given=True)
    assert made["verdict"] == "review" and "Dice with our own segmentation" in made["reasons"][0]


# ---------------------------------------------------------------- scores of a mask, features


def case(scan, **options):
    return preprocess.prepare("sub-a", scan["t1"], scan["flair"], scan["lesion"], scan["brainmask"], size=32, **options)


def test_scores_of_a_given_mask(scan):
    from wmhqc.uncertainty import summarise

    prepared = case(scan)
    truth = prepared.lesion > 0
    mc = summarise([np.where(truth, 0.8, 0.0)])
    shifted = np.roll(truth, 1, axis=0)
    row = judge.mask_scores(prepared, shifted, mc, np.ones(truth.shape))
    overlap = (shifted & truth).sum() / truth.sum()
    assert row["agreement_dice"] == row["lesion_dice"] == pytest.approx(overlap)
    assert row["expected_dice"] == pytest.approx(2 * 0.8 * overlap / 1.8, rel=1e-6)
    assert row["volume_ml"] == pytest.approx(row["own_volume_ml"]) and row["volume_ml"] == pytest.approx(row["true_ml"])
    assert row["vs_error_inside"] == pytest.approx(row["volume_ml"] * 1000)
    empty = judge.mask_scores(prepared, np.zeros_like(truth), mc, np.zeros(truth.shape))
    assert empty["volume_ml"] == 0 and math.isnan(empty["mean_entropy"]) and empty["expected_dice"] == 0


def test_scan_features_are_in_mm_and_ml(scan):
    found = scan_features(case(scan))
    assert list(found) == list(FEATURES) and all(map(math.isfinite, found.values()))
    assert found["largest_edge_mm"] == pytest.approx(3.4)
    assert found["brain_ml"] == pytest.approx(4 / 3 * np.pi * 17**3 * 3.4**3 / 1000, rel=0.03)
    assert found["width_mm"] == found["height_mm"] == pytest.approx(34 * 3.4)
    assert set(FEATURES) <= set(labels.LABELS)


def test_width_is_left_to_right_in_any_orientation(scan):
    thin = {name: resave(scan, name, lambda a: a[5:35])[name] for name in ("t1", "flair", "brainmask", "lesion")}
    turned = {}
    for name, path in thin.items():
        image = nib.load(path)
        turned[name] = path.replace(".nii.gz", "-turned.nii.gz")
        nib.save(image.as_reoriented([[2, -1], [0, 1], [1, 1]]), turned[name])
    before, after = scan_features(case(thin)), scan_features(case(turned))
    assert before["width_mm"] < before["height_mm"]
    assert after == pytest.approx(before, rel=0.02)


def test_detail_falls_with_blur_and_symmetry_with_a_mass(scan):
    from scipy import ndimage

    plain = scan_features(case(scan))
    blurred = resave(scan, "flair", lambda a: ndimage.gaussian_filter(a.astype(float), 1))
    assert scan_features(case(blurred))["flair_detail"] < 0.8 * plain["flair_detail"]
    one_side = resave(scan, "flair", lambda a: np.where(np.arange(40)[:, None, None] < 20, a, a // 2))
    assert scan_features(case(one_side))["flair_symmetry"] < plain["flair_symmetry"]


# ---------------------------------------------------------------- tables and records


def test_read_calibration_wants_labelled_cases(tmp_path):
    path = tmp_path / "group.tsv"
    with pytest.raises(FileNotFoundError, match="group.tsv"):
        calibration.read_calibration(path)
    pd.DataFrame({"case": ["a"], labels.SCORE: [0.5]}).to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match="no column lesion_dice"):
        calibration.read_calibration(path)
    pd.DataFrame({"case": ["a"], labels.SCORE: [0.5], "lesion_dice": [math.nan]}).to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match="no case has a true Dice"):
        calibration.read_calibration(path)
    cases().to_csv(path, sep="\t", index=False)
    assert len(calibration.read_calibration(path)) == 60
    pd.concat([cases(), cases()[:1]]).to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match="case c0 is there more than once"):
        calibration.read_calibration(path)
    cases().assign(reference="ab").to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match="other reference networks"):
        calibration.read_calibration(path)
    cases().assign(patient=["01", "01", *"abcdefgh"] + [math.nan] * 50).to_csv(path, sep="\t", index=False)
    assert len(calibration.read_calibration(path)) == 59, "one scan a patient"


def test_a_scan_is_not_calibrated_on_itself(scan):
    table = cases().assign(flair_sha256="x", patient=[str(i) for i in range(60)])
    table.loc[3, "flair_sha256"] = sha256(scan["flair"])
    assert calibration.exclude_patient(table, scan)["case"].tolist() == [f"c{i}" for i in range(60) if i != 3]
    assert len(calibration.exclude_patient(table, scan | {"patient": "7"})) == 58


def test_records_are_json():
    record = records.to_json(
        {"a": np.float32(0.5), "b": math.nan, "c": [np.int64(2), math.inf], "d": np.bool_(True), "e": None}
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        "a": 0.5,
        "b": None,
        "c": [2, None],
        "d": True,
        "e": None,
    }
