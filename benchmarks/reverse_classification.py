"""Does reverse classification accuracy tell how good a lesion mask is?

    python benchmarks/reverse_classification.py

A classifier learns the mask in question from its own scan, and is asked about scans whose manual masks are known; the
best Dice that it reaches there (mean of the best three as well) is to predict the unknown Dice (Valindria et al., IEEE
TMI 2017). "carried" is the mask itself laid over the other brains. Tried on the real patients at hand: our own masks,
and those of other programs. A patient is asked only about others. Beside it, what `wmhqc qc` predicts. Five minutes on
one core.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

from wmhqc import preprocess
from wmhqc.failure import bootstrap, spearman
from wmhqc.metrics import lesion_dice
from wmhqc.screen import inputs
from wmhqc.screen.discover import other_masks
from wmhqc.screen.judge import judge, load_networks
from wmhqc.sources import available

NEGATIVES = 20_000  # voxels outside the mask that the classifier sees


def features(prepared) -> np.ndarray:
    """T1, FLAIR, FLAIR smoothed at two scales, and the place in the brain's box: (n, n, n, 7)."""
    t1, flair = np.moveaxis(prepared.volume.astype(float), -1, 0)
    smooth = [ndimage.gaussian_filter(flair, sigma) for sigma in (1, 3)]
    place = np.meshgrid(*[np.linspace(-1, 1, prepared.size)] * 3, indexing="ij")
    return np.stack([t1, flair, *smooth, *place], axis=-1)


def reverse(prepared, mask: np.ndarray, others: list, seed: int = 0) -> dict:
    """Dice on other patients of what was learnt from one mask."""
    if not mask.any():
        return {"best": 0.0, "best three": 0.0, "carried": 0.0}
    rng = np.random.default_rng(seed)
    outside = np.flatnonzero((prepared.brain > 0) & ~mask)
    chosen = np.r_[np.flatnonzero(mask), rng.choice(outside, min(NEGATIVES, len(outside)), replace=False)]
    x = features(prepared).reshape(-1, 7)[chosen]
    weight = np.where(mask.ravel()[chosen], 1.0, len(outside) / min(NEGATIVES, len(outside)))
    model = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    model.fit(x, mask.ravel()[chosen], sample_weight=weight)
    found = []
    for other in others:
        brain = other.brain > 0
        guess = np.zeros(brain.shape, bool)
        guess[brain] = model.predict(features(other)[brain])
        found.append(lesion_dice(guess, other.lesion > 0))
    carried = max(lesion_dice(mask & (other.brain > 0), other.lesion > 0) for other in others)
    return {"best": max(found), "best three": np.mean(np.sort(found)[-3:]), "carried": carried}


def main() -> None:
    patients, note = available.real_patients(progress=False)
    print(note)
    own = [dict(row) | {"program": "own"} for row in patients.to_dict("records")]
    networks = load_networks()
    size, labelled = networks["mc_unet"][0].input_shape[1], {}
    for row in own:
        images = inputs.read(row)
        scan = (row["case"], images["t1"], images["flair"], images["lesion"], images.get("brainmask"))
        labelled[row["case"]] = preprocess.prepare(*scan, size)
    rows = []
    for row in [*own, *other_masks(patients).to_dict("records")]:
        found, prepared = judge(row, networks), labelled[row["case"]]
        image = found.images.get("segmentation", found.images["mask"])
        scan = (row["case"], found.images["t1"], found.images["flair"], image, found.images.get("brainmask"))
        mask = preprocess.prepare(*scan, size).lesion > 0
        others = [other for case, other in labelled.items() if case != row["case"]]
        truth = {"true": found.record["truth"]["lesion_dice"], "predicted": found.record["predicted_dice"]["value"]}
        kind = "own" if row["program"] == "own" else "other programs"
        ml = found.record["scores"]["volume_ml"]
        rows.append({"case": row["case"], "kind": kind} | truth | {"volume": ml} | reverse(prepared, mask, others))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.round(2).to_string())
    for kind, part in table.groupby("kind"):
        print(f"\n{kind}: {len(part)} masks of {part['case'].nunique()} patients")
        for name in ("best", "best three", "carried", "predicted", "volume"):
            rho, low, high = bootstrap(spearman, part["true"], part[name])
            off = f", {(part[name] - part['true']).abs().mean():.2f} off" if name != "volume" else ""
            print(f"  {name}: rho {rho:.2f} ({low:.2f} to {high:.2f}){off}")


if __name__ == "__main__":
    main()
