"""What comes in: read, or refused with file, problem and remedy."""

import re

import nibabel as nib
import numpy as np
import pytest
from scans import resave

from wmhqc import cohort
from wmhqc.screen import inputs


def refusal(row, **options):
    with pytest.raises(cohort.CohortError) as refused:
        inputs.read(row, **options)
    return str(refused.value)


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


def shifted(row, name, mm):
    affine = nib.load(row[name]).affine.copy()
    affine[0, 3] += mm
    return resave(row, name, affine=affine)


@pytest.mark.parametrize("name", ["lesion", "segmentation"])
@pytest.mark.parametrize("mm", [1000, 75])
def test_a_mask_that_resampling_empties_or_loses_is_refused(scan, name, mm):
    row = shifted(scan | {"segmentation": scan["lesion"]}, name, mm)
    text = refusal(row, resample=True)
    assert "ml on the grid of the FLAIR" in text and row[name] in text and "headers do not fit" in text


def test_a_resampled_mask_is_noted_with_its_volumes(scan):
    half = np.diag([1.7, 1.7, 1.7, 1])
    fine = resave(scan, "lesion", lambda a: a.repeat(2, 0).repeat(2, 1).repeat(2, 2), half)
    notes = []
    inputs.read(fine, resample=True, notes=notes)
    assert re.fullmatch(r"The lesion mask was resampled .* headers \([\d.]+ ml, before [\d.]+ ml\)\.", notes[0])


def test_a_header_without_codes_is_noted(scan):
    image = nib.load(scan["flair"])
    image.header["qform_code"] = image.header["sform_code"] = 0
    bare = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    path = scan["flair"].replace("_FLAIR", "-bare_FLAIR")
    nib.save(bare, path)
    notes, row = [], scan | {"flair": path}
    inputs.read(scan, notes=notes)
    assert notes == []
    for name in ("t1", "brainmask", "lesion"):
        row = resave(row, name, affine=nib.load(path).affine)
    inputs.read(row, notes=notes)
    assert len(notes) == 1 and "codes are 0" in notes[0]


def test_a_small_brain_is_refused_without_a_mask_too(scan):
    small = np.diag([1.7, 1.7, 1.7, 1])
    row = scan | {"brainmask": "", "lesion": ""}
    for name in ("t1", "flair"):
        row = resave(row, name, affine=small)
    assert "ml are above 0 in T1 and FLAIR; a brain has 300 to 2200 ml" in refusal(row)


def test_a_brain_mask_with_nan_is_refused(scan):
    assert "NaN or infinite voxels" in refusal(resave(scan, "brainmask", lambda a: np.where(a > 0, 1, np.nan)))


def test_of_several_labels_those_are_lesion_that_are_said_to_be(scan):
    labels = resave(scan, "lesion", lambda a: a * np.where(np.arange(40) < 24, 3, 5)[:, None, None].astype(np.uint8))
    assert "--label" in refusal(labels)
    rule = {"lesion_rule": "label 3,5", "segmentation_rule": "label 3"}
    images = inputs.read(labels | rule | {"segmentation": labels["lesion"]})
    whole, part = (np.asanyarray(images[name].dataobj) for name in ("lesion", "segmentation"))
    assert np.array_equal(whole, nib.load(scan["lesion"]).dataobj) and 0 < part.sum() < whole.sum() and part.max() == 1


def test_several_brain_masks_are_named_and_none_is_taken(scan):
    row = scan | {"brainmask": "", "brainmask_choice": "derivatives/a.nii.gz, derivatives/b.nii.gz"}
    with pytest.raises(cohort.CohortError, match="several brain masks fit this scan .*b.nii.gz.*--brainmask"):
        inputs.read(row)
    assert "brainmask" in inputs.read(row | {"brainmask": scan["brainmask"]})


def test_a_brain_mask_that_is_a_probability_is_refused(scan):
    text = refusal(resave(scan, "brainmask", lambda a: a * np.linspace(0.2, 1, 40, dtype=np.float32)))
    assert "brain mask has fractions" in text and "threshold it" in text
    assert inputs.read(resave(scan, "brainmask", lambda a: a * np.float32(0.3)))


def test_a_brain_mask_over_the_background_is_refused(scan):
    assert "brain mask lies where T1 and FLAIR are 0 by" in refusal(
        resave(scan, "brainmask", lambda a: np.roll(a, 9, 0))
    )


def test_a_mask_in_place_of_a_scan_is_refused(scan):
    assert "FLAIR has two values in the brain" in refusal(scan | {"flair": scan["lesion"]})


def test_a_label_that_was_stored_with_a_scale_is_known(scan):
    scaled = resave(scan, "lesion", lambda a: a * np.float32(3.000001)) | {"lesion_rule": "label 3"}
    assert np.array_equal(inputs.read(scaled)["lesion"].dataobj, nib.load(scan["lesion"]).dataobj)


@pytest.mark.parametrize("name", ["lesion", "segmentation"])
def test_a_mask_that_is_shifted_against_the_scan_is_noted(scan, name):
    notes, row = [], scan | {"segmentation": scan["lesion"]}
    inputs.read(row, notes=notes)
    assert notes == []
    inputs.read(resave(row, name, lambda a: np.roll(a, 2, 1)), notes=notes)
    found = f"The {inputs.INPUTS[name]} fits the FLAIR better when moved by (+0, -2, +0) voxels"
    assert len(notes) == 1 and notes[0].startswith(found) and "is its header right" in notes[0]


@pytest.mark.parametrize("change", [lambda a: a * 2, lambda a: 2000 - a, lambda a: a + a % 2, lambda a: a / 3 + 9])
def test_a_flair_of_another_scale_is_no_t1(scan, change):
    text = refusal(resave(scan | {"t1": scan["flair"]}, "t1", lambda a: change(a.astype(np.float32))))
    assert "T1 and FLAIR are the same image but for its scale" in text and "give the T1-weighted scan" in text
    with pytest.raises(cohort.CohortError, match="the same image"):
        inputs.read(scan | {"t1": scan["flair"]}, resample=True)


@pytest.mark.parametrize("name", ["flair", "t1", "brainmask", "lesion", "segmentation"])
@pytest.mark.parametrize(("mm", "noted"), [(7, True), (3, False)])
def test_a_qform_that_disagrees_with_the_sform_is_noted(scan, name, mm, noted):
    row, notes = scan | {"segmentation": scan["lesion"]}, []
    image = nib.load(row[name])
    image.set_qform(nib.affines.from_matvec(image.affine[:3, :3], [0, mm, 0]), 1)  # the sform stays
    row[name] = row[name].replace(".nii.gz", "-forms.nii.gz")
    nib.save(image, row[name])
    images = inputs.read(row, notes=notes)
    assert np.array_equal(images[name].affine, nib.load(scan["flair"]).affine)
    words = f"In the header of the {inputs.INPUTS[name]} qform and sform lie up to 7.0 mm apart; the sform was used"
    assert (len(notes) == 1 and notes[0].startswith(words)) if noted else notes == []
