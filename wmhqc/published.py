"""The paper's own 105 test cases, and its Table 1 recomputed from them.

Source of the numbers: text files and printed or drawn notebook output in the
authors' repository sebnieh/QA_for_WhiteMatterLesionSegmentation at commit
f748d6312af9574708e84cb0207e006eed47b031. Facts only, none of its code. Which
column comes from which file stands in `wmhqc/data/README.md`.

"Dice" here is the paper's: the mean of background and lesion soft Dice of one
dropout pass. 0.75, below which the paper calls a case failed, is about 0.50 of
the lesion Dice (Eq. 1).
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd

from wmhqc import failure

TAU = 0.75
REGRESSORS = {"image": "predicted_dice_image", "uncertainty": "predicted_dice_uncertainty",
              "error": "predicted_dice_error"}

# The VS of folds 2 to 5 were never published. These (tp, fp, fn, tn) of the five
# folds are inferred: only they (up to which fold has which row, pooled counts
# being the same in every solution) give the rounded cells of Table 1, for the
# Dice of the authors' second run: 20 failed cases, 4 4 5 2 5 per fold.
VS_COUNTS = {
    "uncertainty VS < 1100": [(3, 0, 1, 17), (3, 1, 1, 16), (2, 1, 3, 15), (0, 2, 2, 17), (2, 2, 3, 14)],
    "error VS < 20000": [(3, 9, 1, 8), (2, 10, 2, 7), (3, 9, 2, 7), (1, 7, 1, 12), (3, 9, 2, 7)],
}


def table() -> pd.DataFrame:
    """The 105 test cases, one row each.

    Returns
    -------
    DataFrame
        `case` (unique), `fold` 1 to 5, `index` in the fold, `database`, `site`, `patient`;
        `paper_dice`; `paper_dice_run2` (another dropout draw, 31 cases);
        `predicted_dice_image`, `_uncertainty`, `_error`; `vs_uncertainty` (bit) with the
        Dice of that run, and `vs_error` (rescaled, FLAIR - reconstruction), fold 1 only;
        `lesion_percent` of the brain; `lesion_ml` (derived: the voxel size is assumed).
    """
    cases = pd.read_csv(files("wmhqc") / "data" / "published_per_case.csv", dtype={"site": str, "patient": str},
                        keep_default_na=False, na_values={c: [""] for c in _NUMBERS})
    names = cases[["database", "site", "patient"]].agg(lambda parts: "-".join(filter(None, parts)), axis=1)
    return cases.assign(case=names)[["case", *cases.columns]]


def counts() -> pd.DataFrame:
    """Failed and flagged cases of the three regressors over all folds, failure being positive.

    Flagged: predicted Dice < 0.75. Dice: `paper_dice` (21 failed).
    """
    cases = table()
    return pd.DataFrame([failure.confusion(cases["paper_dice"], cases[column] < TAU, TAU)
                         for column in REGRESSORS.values()], index=pd.Index(REGRESSORS, name="input"))


def vs_counts(rule: str) -> pd.DataFrame:
    """Inferred counts and rates of a rule of `VS_COUNTS`, one row per fold (see there)."""
    rows = []
    for tp, fp, fn, tn in VS_COUNTS[rule]:
        failed = np.repeat([True, False, True, False], (tp, fp, fn, tn))
        flagged = np.repeat([True, True, False, False], (tp, fp, fn, tn))
        rows.append(failure.confusion(np.where(failed, 0.0, 1.0), flagged, TAU))
    return pd.DataFrame(rows, index=pd.RangeIndex(1, 6, name="fold"))


def per_fold(input: str) -> pd.DataFrame:
    """A regressor in each fold: counts and rates at 0.75, correlation, error, Dice before and after.

    Parameters
    ----------
    input : "image", "uncertainty" or "error"
        What Reg-net saw beside the prediction.
    """
    if input not in REGRESSORS:
        raise ValueError(f"input must be one of {', '.join(REGRESSORS)}, got {input!r}")
    rows = []
    for _, part in table().groupby("fold"):
        dice, predicted = part["paper_dice"].to_numpy(), part[REGRESSORS[input]].to_numpy()
        flagged = predicted < TAU
        rows.append(failure.confusion(dice, flagged, TAU) | {
            "failed": int((dice < TAU).sum()), "r": failure.pearson(dice, predicted),
            "rho": failure.spearman(dice, predicted), "mae": failure.mae(dice, predicted),
            "mean_dice": dice.mean(), "mean_after": dice[~flagged].mean(),
            "median_dice": np.median(dice), "median_after": np.median(dice[~flagged])})
    return pd.DataFrame(rows, index=pd.RangeIndex(1, 6, name="fold"))


def table1() -> pd.DataFrame:
    """Table 1 cell by cell: what is printed, what it really is, and the same recomputed.

    The columns of the regressors are medians over folds, those of VS are means
    over folds. What the table calls precision is the specificity, what it calls
    recall the negative predictive value. Correlation, MAE and Dice differ a
    little as the authors used another dropout draw of the Dice, unpublished but
    for fold 1.

    Returns
    -------
    DataFrame
        `method`, `cell` (the paper's name), `published`, `is` (what it really is), `recomputed`.
    """
    named = {"Pearson r": "r", "MAE": "mae", "Dice after removal": "mean_after",
             "Precision": "specificity", "Recall": "npv", "N": "flagged"}
    printed = {"image": (0.566, 0.0536, 0.8197, 0.8947, 0.8095, 2.0),
               "uncertainty": (0.7108, 0.045, 0.8191, 1.0, 0.8095, 0.0),
               "error": (0.7329, 0.0569, 0.838, 0.9412, 0.8333, 3.0)}
    rows = []
    for input, values in printed.items():
        medians = per_fold(input).median()
        rows += [(f"{input}-prediction", cell, value, f"median over folds of {_LONG[name]}", medians[name])
                 for (cell, name), value in zip(named.items(), values)]
    for rule, values in {"uncertainty VS < 1100": (0.929, 0.89, 3.2), "error VS < 20000": (0.477, 0.829, 10.0)}.items():
        folds = vs_counts(rule)
        # For error VS the table counts the 49 cases that were *not* flagged.
        n = "flagged" if rule.startswith("uncertainty") else "kept"
        means = folds.assign(kept=folds["fn"] + folds["tn"]).mean()
        rows += [(rule, cell, value, f"mean over folds of {_LONG[name]}", means[name])
                 for cell, name, value in zip(("Precision", "Recall", "N"), ("specificity", "npv", n), values)]
    return pd.DataFrame(rows, columns=["method", "cell", "published", "is", "recomputed"])


def dice_from_lesion_load() -> np.ndarray:
    """Dice predicted by a line on log lesion percent, fitted on the other four folds: the baseline."""
    cases = table()
    load, dice, fold = cases[["lesion_percent", "paper_dice", "fold"]].to_numpy().T
    load = np.log(load)
    predicted = np.empty(len(cases))
    for f in np.unique(fold):
        predicted[fold == f] = np.polyval(np.polyfit(load[fold != f], dice[fold != f], 1), load[fold == f])
    return predicted


_LONG = {"r": "Pearson r", "mae": "MAE", "mean_after": "mean Dice of the kept cases", "specificity": "specificity",
         "npv": "negative predictive value", "flagged": "cases flagged", "kept": "cases kept"}
_NUMBERS = ["paper_dice", "paper_dice_run2", *REGRESSORS.values(), "vs_uncertainty", "vs_uncertainty_dice",
            "vs_error", "lesion_percent", "lesion_ml"]
