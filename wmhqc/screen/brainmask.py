"""Brain masks of whole heads, made with deepbet where it is installed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from wmhqc.checks import brain_problem
from wmhqc.images import load_image


def need_deepbet() -> None:
    """Say how to get deepbet, where it is not installed (ImportError)."""
    from importlib.util import find_spec

    if find_spec("deepbet") is None:
        raise ImportError(
            "--extract-brain needs deepbet, which is not installed: pip install deepbet (with PyTorch, about 1 GB), "
            "or make a brain mask with any other tool and give it with --brainmask"
        )


def extract(t1, scratch) -> nib.Nifti1Image:
    """Brain mask of a T1 with skull, by deepbet (Fisch et al., 2024), on the CPU.

    deepbet reads and writes files: in a folder below `scratch`, which is removed.
    """
    need_deepbet()
    from deepbet import run_bet

    with tempfile.TemporaryDirectory(dir=scratch, prefix=".deepbet-") as folder:
        head, brain, mask, volume = (
            str(Path(folder) / name) for name in ("t1.nii.gz", "brain.nii.gz", "mask.nii.gz", "ml.csv")
        )
        nib.save(t1, head)
        run_bet([head], [brain], [mask], [volume], no_gpu=True)
        made = load_image(mask)
    made = nib.Nifti1Image((np.asanyarray(made.dataobj) > 0).astype(np.uint8), t1.affine)
    problem = brain_problem({"flair": t1, "brainmask": made})
    if problem:
        raise ValueError(
            f"the {problem[0]}: deepbet did not find the brain; make a mask with another tool (--brainmask)"
        )
    return made
