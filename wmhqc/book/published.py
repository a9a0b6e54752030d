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

import itertools
from importlib.resources import files

import numpy as np
import pandas as pd

from wmhqc import failure, thresholds

TAU = 0.75
REGRESSORS = {pair: f"predicted_dice_{pair}" for pair in ("image", "uncertainty", "error")}

# The VS of folds 2 to 5 were never published. These (tp, fp, fn, tn) of the five folds are
# inferred: they give the rounded cells of Table 1 for the Dice of the authors' second run
# (20 failed cases, 4 4 5 2 5 per fold). For the uncertainty, every split into folds that
# gives the cells has the pooled counts 10 and 6; which fold has which count is less sure.
VS_COUNTS = {
    "uncertainty VS < 1100": [(3, 0, 1, 17), (3, 1, 1, 16), (2, 1, 3, 15), (0, 2, 2, 17), (2, 2, 3, 14)],
    "error VS < 20000": [(3, 9, 1, 8), (2, 10, 2, 7), (3, 9, 2, 7), (1, 7, 1, 12), (3, 9, 2, 7)],
}
# The limit 20000 of Table 1 stands in the authors' code alone; the paper's text has -100,000. Of
# this rule only the pooled counts are known: inferred as above, but not split into folds.
TEXT_RULE = "error VS < -100000"
TEXT_COUNTS = (1, 4, 19, 81)
# Mean over the folds of the mean Dice of the *flagged* cases of error VS < 20000, by the numbers in
# the authors' notebook. Table 1 prints it as the Dice after filtering: the wrong side was kept.
FLAGGED_DICE = 0.8366

# FLAIR voxels that Table 3 prints and that cannot be right: see `table3`.
PRINTED_VOXEL = {"MS16-01": (0.5, 0.5, 0.11), "GE3T": (0.98, 0.98, 1.2)}


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
    cases = pd.read_csv(_data("published_per_case.csv"), dtype={"site": str, "patient": str})
    cases = cases.fillna({"site": ""})
    names = cases[["database", "site", "patient"]].agg(lambda parts: "-".join(filter(None, parts)), axis=1)
    return cases.assign(case=names)[["case", *cases.columns]]


def counts() -> pd.DataFrame:
    """Failed and flagged cases of the three regressors over all folds, failure being positive.

    Flagged: predicted Dice < 0.75. Dice: `paper_dice` (21 failed).
    """
    cases = table()
    return pd.DataFrame(
        [failure.confusion(cases["paper_dice"], cases[column] < TAU, TAU) for column in REGRESSORS.values()],
        index=pd.Index(REGRESSORS, name="input"),
    )


def vs_counts(rule: str) -> pd.DataFrame:
    """Inferred counts and rates of a rule of `VS_COUNTS`, one row per fold (see there)."""
    return pd.DataFrame([_confusion(*counts) for counts in VS_COUNTS[rule]], index=pd.RangeIndex(1, 6, name="fold"))


def per_fold(pair: str) -> pd.DataFrame:
    """A regressor in each fold: counts and rates at 0.75, correlation, error, Dice before and after.

    Parameters
    ----------
    pair : "image", "uncertainty" or "error"
        What Reg-net saw beside the prediction.
    """
    if pair not in REGRESSORS:
        raise ValueError(f"pair must be one of {', '.join(REGRESSORS)}, got {pair!r}")
    rows = []
    for _, part in table().groupby("fold"):
        dice, predicted = part["paper_dice"].to_numpy(), part[REGRESSORS[pair]].to_numpy()
        flagged = predicted < TAU
        rows.append(
            failure.confusion(dice, flagged, TAU)
            | {
                "failed": int((dice < TAU).sum()),
                "r": failure.pearson(dice, predicted),
                "rho": failure.spearman(dice, predicted),
                "mae": failure.mae(dice, predicted),
                "mean_dice": dice.mean(),
                "mean_after": dice[~flagged].mean(),
                "median_dice": np.median(dice),
                "median_after": np.median(dice[~flagged]),
            }
        )
    return pd.DataFrame(rows, index=pd.RangeIndex(1, 6, name="fold"))


def filters() -> pd.DataFrame:
    """What each filter of the paper, and a line on lesion load, catches over all folds, failure being positive.

    The VS rules are inferred (`VS_COUNTS`) and are judged by the authors' second run, in
    which 20 cases failed; the other filters by `paper_dice` (21 failed). Of error VS there
    are two rules: that of Table 1, from the code, and that of the text (`TEXT_RULE`).

    Returns
    -------
    DataFrame
        Counts and rates of `failure.confusion`, `failed`, and the 95 % interval
        (Clopper-Pearson) `low`, `high` of the sensitivity.
    """
    rows = {f"{pair}-prediction < {TAU}": counts for pair, counts in counts().to_dict("index").items()}
    for rule in VS_COUNTS:
        rows[rule] = _confusion(*vs_counts(rule)[["tp", "fp", "fn", "tn"]].sum())
    rows[TEXT_RULE] = _confusion(*TEXT_COUNTS)
    dice = table()["paper_dice"]
    rows[f"line on lesion load < {TAU}"] = failure.confusion(dice, dice_from_lesion_load() < TAU, TAU)
    for row in rows.values():
        row["failed"] = row["tp"] + row["fn"]
        row["low"], row["high"] = failure.proportion_interval(row["tp"], row["failed"])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("filter")


def removal() -> pd.DataFrame:
    """Mean Dice after a regressor's flagged cases are removed, and after as many others are.

    Returns
    -------
    DataFrame, one row per regressor
        `removed` cases; mean Dice `before` and `after`; `lowest_load`: after removing as
        many cases of the lowest lesion load; `oracle`: as many of the lowest Dice.
    """
    cases = table()
    dice, rows = cases["paper_dice"], {}
    for pair, column in REGRESSORS.items():
        rows[pair] = row = failure.removal(dice, cases[column] < TAU)
        for name, score in {"lowest_load": cases["lesion_percent"], "oracle": dice}.items():
            row[name] = dice[score.rank(method="first") > row["removed"]].mean()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("input")


def equal_budget() -> pd.DataFrame:
    """Failures found when each score may flag as many cases per fold as uncertainty VS < 1100 does.

    Which fold has which count of `VS_COUNTS` is not sure: `fewest` and `most` are over all orders.
    """
    flags = vs_counts("uncertainty VS < 1100")["flagged"].to_numpy()
    orders = [np.array(order) for order in set(itertools.permutations(flags))]
    cases = with_baselines()
    failed = cases["paper_dice"] < TAU
    rows = {}
    for score in [*REGRESSORS.values(), "mean_of_three", "lesion_percent"]:
        rank = cases.groupby("fold")[score].rank(method="first")
        found = [int((failed & (rank <= order[cases["fold"] - 1])).sum()) for order in orders]
        rows[score] = {"flagged": int(flags.sum()), "fewest": min(found), "most": max(found)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def threshold_transfer() -> pd.DataFrame:
    """Failures found and good cases flagged by the best threshold of Youden's index, chosen twice.

    Returns
    -------
    DataFrame, one row per score
        `found_same`, `false_same`: threshold chosen on the very cases it is judged on;
        `found_other`, `false_other`: chosen for each fold on the other four.
    """
    cases = with_baselines()
    dice, rows = cases["paper_dice"], {}
    for score in [*REGRESSORS.values(), "mean_of_three", "lesion_percent"]:
        same = failure.flag(cases[score], thresholds.for_agreement(dice, cases[score], TAU).threshold)
        other = same.copy()
        for fold in cases["fold"].unique():
            inside = cases["fold"] == fold
            choice = thresholds.for_agreement(dice[~inside], cases.loc[~inside, score], TAU)
            other[inside] = failure.flag(cases.loc[inside, score], choice.threshold)
        rows[score] = {}
        for name, flagged in {"same": same, "other": other}.items():
            found = failure.confusion(dice, flagged, TAU)
            rows[score] |= {f"found_{name}": found["tp"], f"false_{name}": found["fp"]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def by_lesion_load() -> pd.DataFrame:
    """Cases, failures and mean Dice in each quarter of the cases by lesion percent."""
    cases = table()
    quarter = pd.qcut(cases["lesion_percent"], 4, labels=["least", "second", "third", "most"])
    return (
        cases.assign(failed=cases["paper_dice"] < TAU)
        .groupby(quarter, observed=True)
        .agg(
            cases=("case", "size"),
            highest_percent=("lesion_percent", "max"),
            failed=("failed", "sum"),
            mean_dice=("paper_dice", "mean"),
        )
        .rename_axis("lesion_load")
    )


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
        `method`, `cell` (the paper's name), `published`, `is` (statistic over folds), `recomputed`.
        "Dice kept" is the mean Dice of the cases that are not flagged, "Dice flagged"
        (error VS, `FLAGGED_DICE`) that of the flagged ones.
    """
    cells = pd.read_csv(_data("published_table1.csv"))
    over_folds = {f"{pair}-prediction": per_fold(pair).median() for pair in REGRESSORS}
    for rule in VS_COUNTS:
        over_folds[rule] = vs_counts(rule).assign(kept=lambda folds: folds["fn"] + folds["tn"]).mean()
    over_folds["error VS < 20000"]["flagged_dice"] = FLAGGED_DICE
    cells["recomputed"] = [over_folds[cell.method][cell.quantity] for cell in cells.itertuples()]
    return cells.drop(columns="quantity")


def table3() -> pd.DataFrame:
    """Table 3, and the brain volumes that its voxels imply.

    Returns
    -------
    DataFrame, one row per site (the names of `synthetic.COMPOSITION`)
        `database`, `cases`; `voxel_printed`: FLAIR voxel in mm as printed; `brain_ml_printed`:
        mean brain volume with it; `voxel`, `brain_ml`: the same with the voxel corrected where
        the printed one gives no human brain (our correction); `lesion_percent`: mean of the
        authors' per-case table. An adult's brain has about 1,000 to 1,700 ml.
    """
    from wmhqc.sources.synthetic import COMPOSITION

    cases = table()
    site = np.where(cases["database"] == "MS16", "MS16-" + cases["site"], cases["site"])
    cases["site"] = np.where(site == "", cases["database"], site)
    cases["brain_ml"] = 100 * cases["lesion_ml"] / cases["lesion_percent"]  # with the corrected voxel
    rows = {}
    for name, group in cases.groupby("site"):
        voxel = COMPOSITION[name].voxel
        printed = PRINTED_VOXEL.get(name, voxel)
        rows[name] = {
            "database": group["database"].iloc[0],
            "cases": len(group),
            "voxel_printed": " × ".join(f"{edge:g}" for edge in printed),
            "brain_ml_printed": group["brain_ml"].mean() * np.prod(printed) / np.prod(voxel),
            "voxel": " × ".join(f"{edge:g}" for edge in voxel),
            "brain_ml": group["brain_ml"].mean(),
            "lesion_percent": group["lesion_percent"].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("site").reindex(COMPOSITION)


def dice_from_lesion_load() -> np.ndarray:
    """Dice predicted by a line on log lesion percent, fitted on the other four folds: the baseline."""
    cases = table()
    load, dice, fold = cases[["lesion_percent", "paper_dice", "fold"]].to_numpy().T
    load = np.log(load)
    predicted = np.empty(len(cases))
    for f in np.unique(fold):
        predicted[fold == f] = np.polyval(np.polyfit(load[fold != f], dice[fold != f], 1), load[fold == f])
    return predicted


def with_baselines() -> pd.DataFrame:
    """`table` with `mean_of_three` (of the predicted Dice) and `dice_from_load` (`dice_from_lesion_load`)."""
    cases = table()
    return cases.assign(
        mean_of_three=cases[list(REGRESSORS.values())].mean(axis=1), dice_from_load=dice_from_lesion_load()
    )


def _data(name: str):
    return files("wmhqc") / "data" / name


def _confusion(tp: int, fp: int, fn: int, tn: int) -> dict:
    """`failure.confusion` of counts."""
    failed = np.repeat([True, False, True, False], (tp, fp, fn, tn))
    flagged = np.repeat([True, True, False, False], (tp, fp, fn, tn))
    return failure.confusion(np.where(failed, 0.0, 1.0), flagged, TAU)
