"""Brain masks by deepbet."""

import importlib.machinery
import sys
import types

import nibabel as nib
import numpy as np
import pytest

from wmhqc.screen import brainmask


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
