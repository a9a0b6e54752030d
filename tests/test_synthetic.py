"""Synthetic cohort: who is in it, same seed same bytes, and whether the cases are like patients."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc.sources import synthetic

COARSE = (2.5, 2.5, 3.0)
IMAGES = ("t1", "flair", "lesion", "brainmask")


def arrays(case):
    return [np.asarray(getattr(case, name).dataobj) for name in IMAGES]


@pytest.fixture(scope="module")
def cases():
    """Seven coarse cases, one of each site."""
    first = synthetic.members(7)
    return [synthetic.make_case(c, s, 3, COARSE) for c, s in zip(first.case, first.site)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return folder, synthetic.make_cohort(folder, 3, seed=1, progress=False, voxel=COARSE)


# ---- composition


def test_the_cohort_has_the_published_composition():
    table = synthetic.members()
    assert table.case.is_unique
    assert table.site.value_counts().to_dict() == {
        "MS15": 5,
        "MS16-01": 5,
        "MS16-08": 5,
        "MS17": 30,
        "Utrecht": 20,
        "Singapore": 20,
        "GE3T": 20,
    }
    assert table.database.value_counts().to_dict() == {"MICCAI17": 60, "MS17": 30, "MS16": 10, "MS15": 5}


@pytest.mark.parametrize("cases", [1, 7, 30, 60, 104])
def test_a_smaller_cohort_is_the_beginning_of_a_larger_one(cases):
    pd.testing.assert_frame_equal(synthetic.members(cases), synthetic.members().head(cases))


def test_cases_may_be_named():
    names = ["sub-synsing03", "sub-synms17p01"]
    assert synthetic.members(names).case.tolist() == sorted(names), "in the order of the cohort"
    with pytest.raises(ValueError, match="names as in members.*sub-tab01"):
        synthetic.members([*names, "sub-tab01"])
    for nothing in ([], "sub-synms17p01", None):
        with pytest.raises(ValueError, match="1 to 105, or names"):
            synthetic.members(nothing)


@pytest.mark.parametrize("cases", [7, 20, 35, 60, 90])
def test_every_site_is_there_in_proportion(cases):
    counts = synthetic.members(cases).site.value_counts()
    for name, site in synthetic.COMPOSITION.items():
        assert counts[name] >= 1
        assert abs(counts[name] - site.cases * cases / 105) <= 1.5


# ---- loads


def test_loads_follow_the_published_ones():
    table = synthetic.members()
    loads = np.array([[synthetic.draw_load(c, s, seed) for c, s in zip(table.case, table.site)] for seed in range(5)])
    assert loads.min() >= synthetic.LOAD_RANGE[0] and loads.max() <= synthetic.LOAD_RANGE[1]
    assert loads.mean() == pytest.approx(1.483, abs=0.1)  # published mean and SD of the 105 cases
    assert loads.std(axis=1).mean() == pytest.approx(1.410, abs=0.1)
    assert not np.allclose(loads[0], loads[1])


def test_a_site_has_its_own_loads():
    for name, site in synthetic.COMPOSITION.items():
        loads = [synthetic.draw_load(f"sub-x{i:02d}", name, seed) for i in range(100) for seed in range(2)]
        assert np.mean(loads) == pytest.approx(site.load[0], rel=0.1), name
        assert np.std(loads) == pytest.approx(site.load[1], rel=0.1), name


# ---- one case


def test_same_seed_same_case_other_seed_other_case():
    first, again, other = (synthetic.make_case("sub-synutr03", "Utrecht", seed, COARSE) for seed in (0, 0, 1))
    for a, b in zip(arrays(first), arrays(again)):
        np.testing.assert_array_equal(a, b)
    assert first.facts == again.facts
    assert first.facts["lesion_ml"] != other.facts["lesion_ml"]


def test_four_images_on_one_grid_and_zero_outside_the_brain(cases):
    for case in cases:
        t1, flair, lesion, brain = arrays(case)
        assert t1.dtype == flair.dtype == np.int16 and lesion.dtype == brain.dtype == np.uint8
        for name in IMAGES:
            image = getattr(case, name)
            assert image.shape == case.t1.shape
            np.testing.assert_array_equal(image.affine, case.t1.affine)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert image.header.get_zooms() == pytest.approx(COARSE)
        assert set(np.unique(lesion)) <= {0, 1} and set(np.unique(brain)) == {0, 1}
        np.testing.assert_array_equal(flair > 0, brain > 0)
        np.testing.assert_array_equal(t1 > 0, brain > 0)
        # the whole brain is in the field of view
        assert not any(face.any() for axis in range(3) for face in (brain.take(0, axis), brain.take(-1, axis)))


def test_facts_agree_with_the_images(cases):
    for case in cases:
        _, _, lesion, brain = arrays(case)
        cube = np.prod(COARSE) / 1000
        facts = case.facts
        assert facts["synthetic"] is True and facts["degraded"] == bool(facts["fault"])
        assert facts["lesion_ml"] == pytest.approx(lesion.sum() * cube)
        assert facts["brain_ml"] == pytest.approx(brain.sum() * cube)
        assert facts["lesion_percent"] == pytest.approx(100 * lesion.sum() / brain.sum())
        assert 900 < facts["brain_ml"] < 1800


def test_the_load_is_about_the_one_drawn(cases):
    drawn = np.array([synthetic.draw_load(c.facts["case"], c.facts["site"], 3) for c in cases])
    made = np.array([c.facts["lesion_percent"] for c in cases])
    assert np.corrcoef(drawn, made)[0, 1] > 0.9
    assert 0.5 < np.median(made / drawn) < 1.5


def test_lesions_lie_in_the_brain_and_are_brighter_than_their_surroundings(cases):
    from scipy import ndimage

    contrasts = []
    for case in cases:
        t1, flair, lesion, brain = arrays(case)
        lesion, brain = lesion > 0, brain > 0
        assert not (lesion & ~brain).any()
        wide = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion, iterations=1) & brain
        if lesion.sum() >= 20:
            contrasts.append(np.median(flair[lesion]) / np.median(flair[wide]))
    assert len(contrasts) >= 4
    assert min(contrasts) > 1.03 and np.median(contrasts) > 1.15
    assert np.ptp(contrasts) > 0.05  # easy and hard cases


def test_lesions_lie_mostly_in_white_matter(monkeypatch):
    """Look at the tissue under the true lesions, before the scanner."""
    seen = {}
    whole = synthetic.draw_lesions

    def spy(rng, database, case, target):
        lesions = whole(rng, database, case, target)
        seen.update(case=case, soft=lesions[0], target=target)
        return lesions

    monkeypatch.setattr(synthetic, "draw_lesions", spy)
    synthetic.make_case("sub-synms17p06", "MS17", 0, COARSE)
    inside = seen["soft"] > 0.5
    assert inside.sum() == pytest.approx(seen["target"], rel=0.2)
    assert np.mean(seen["case"].white[inside] > 0.5) > 0.9
    assert seen["case"].white.mean() < 0.5  # so the figure above says something


def test_even_the_smallest_load_leaves_a_mask(monkeypatch):
    monkeypatch.setattr(synthetic, "draw_load", lambda *a: synthetic.LOAD_RANGE[0])
    for seed in range(3):
        assert synthetic.make_case("sub-synutr01", "Utrecht", seed, COARSE).facts["lesion_ml"] > 0


@pytest.mark.parametrize("number, slices", [("04", 3.0), ("17", 7.0)])
def test_default_voxels_stop_at_1_mm_and_a_few_cases_have_thick_slices(number, slices):
    case = synthetic.make_case(f"sub-synge3t{number}", "GE3T", 0)
    assert case.flair.header.get_zooms() == pytest.approx((1.2, 1.0, slices))
    assert case.facts["lesion_percent"] == pytest.approx(synthetic.draw_load(f"sub-synge3t{number}", "GE3T"), rel=0.5)


def test_ten_of_the_cohort_have_thick_slices():
    table = synthetic.members()
    sizes = [synthetic._size(synthetic.COMPOSITION[s], None, int(n))[2] for s, n in zip(table.site, table.patient)]
    assert np.sum(np.array(sizes) >= 5) == 10


@pytest.mark.parametrize(
    "kernel",
    [
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    ],
    ids=lambda kernel: next(iter(kernel.values())),
)
def test_every_processor_makes_the_same_case(kernel):
    """Libraries choose their kernels by the processor; here they are told to choose those of another."""
    program = (
        "import numpy as np; from wmhqc.sources import synthetic;"
        f"case = synthetic.make_case('sub-synutr01', 'Utrecht', 0, {COARSE});"
        "[print(int(np.asarray(i.dataobj).sum(dtype=np.int64))) for i in case[:4]]"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | kernel,
        capture_output=True,
        text=True,
        check=True,
    )
    here = arrays(synthetic.make_case("sub-synutr01", "Utrecht", 0, COARSE))
    assert run.stdout.split() == [str(image.sum(dtype=np.int64)) for image in here]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("sub-synutr03", "Oslo"), "site must be one of"),
        (("patient", "Utrecht"), "two-digit"),
        (("sub-synutr03", "Utrecht", -1), "seed"),
        (("sub-synutr03", "Utrecht", 0, (1, 1)), "voxel"),
        (("sub-synutr03", "Utrecht", 0, (0.1, 1, 1)), "voxel"),
        (("sub-synutr03", "Utrecht", 0, (np.nan, 1, 1)), "voxel"),
    ],
)
def test_bad_arguments_of_a_case(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic.make_case(*arguments)


# ---- a cohort on disk


def test_the_table_and_the_files(cohort):
    folder, table = cohort
    assert table.case.tolist() == synthetic.members(3).case.tolist()
    assert table.synthetic.all() and not table[["lesion_ml", "brain_ml", "lesion_percent"]].isna().any().any()
    for name in IMAGES:
        for case, path in zip(table.case, table[name]):
            suffix = {"t1": "T1w", "flair": "FLAIR"}.get(name, name)
            assert path == str(folder.resolve() / case / f"{case}_{suffix}.nii.gz")
            assert nib.load(path).shape
    written = pd.read_csv(folder / "cohort.csv")
    assert written.columns.tolist() == table.columns.tolist()
    assert written.flair[0] == f"{table.case[0]}/{table.case[0]}_FLAIR.nii.gz"
    assert not list(folder.rglob("*.part"))


def test_a_broken_off_cohort_continues_and_ends_with_the_same_bytes(cohort, monkeypatch):
    folder, table = cohort
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    first, second, _ = table.case
    (folder / first / f"{first}_lesion.nii.gz").unlink()
    (folder / second / f"{second}.json").write_text("{")  # killed while writing
    made = []
    whole = synthetic.make_case
    monkeypatch.setattr(synthetic, "make_case", lambda *a: made.append(a[0]) or whole(*a))
    again = synthetic.make_cohort(folder, 3, seed=1, progress=False, voxel=COARSE)
    assert made == [first, second]
    pd.testing.assert_frame_equal(again, table)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_case_of_another_seed_is_not_taken_for_this_one(cohort, tmp_path):
    import shutil

    folder, _ = cohort
    shutil.copytree(folder, tmp_path / "copy")
    synthetic.make_cohort(tmp_path / "copy", 1, seed=2, progress=False, voxel=COARSE)
    case = synthetic.members(1).case[0]
    assert json.loads((tmp_path / "copy" / case / f"{case}.json").read_text())["made_with"]["seed"] == 2
    name = f"{case}/{case}_FLAIR.nii.gz"
    assert (tmp_path / "copy" / name).read_bytes() != (folder / name).read_bytes()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cases": 0}, "1 to 105"),
        ({"cases": 106}, "1 to 105"),
        ({"cases": 2.5}, "1 to 105"),
        ({"cases": True}, "1 to 105"),
        ({"jobs": 0}, "jobs"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"voxel": (0, 1, 1)}, "voxel"),
    ],
)
def test_bad_arguments_of_a_cohort_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.make_cohort(tmp_path / "new", **{"cases": 1, "progress": False, **options})
    assert not (tmp_path / "new").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        synthetic.make_cohort(tmp_path / "file", 1, progress=False)
