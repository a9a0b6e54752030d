"""How well scores predict the Dice, and what the intervals hold, on the reference run.

    python benchmarks/dice_prediction.py [table.csv ...]

Lines are chosen and fitted on validation rows; test rows had no say. Further tables (the columns of the
run's cases.csv, with the true Dice) are asked too: each its own block. Seconds on one core.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from wmhqc import calibrated, reference, regression, thresholds

LEVEL = 0.9


def asked(validation: pd.DataFrame, test: pd.DataFrame, scores=None) -> pd.DataFrame:
    """Prediction and intervals of test rows, from the validation rows of other cases."""
    folds = test["fold"] if "fold" in test else pd.Series(0, test.index)
    found = []
    for _, cases in test.groupby(folds):
        known = thresholds.one_row_a_case(validation, cases["case"]).reset_index(drop=True)
        used = scores or calibrated.choose(known)
        line = calibrated.fit(known, used)
        predicted, of_known = line.predict(cases), calibrated.out_of_fold(known, used)
        spreads = line.expected_error(predicted), line.expected_error(of_known)
        one = regression.conformal_interval(predicted, of_known, known["lesion_dice"], LEVEL)
        by_case = regression.conformal_interval(predicted, of_known, known["lesion_dice"], LEVEL, *spreads)
        rows = cases.assign(predicted=predicted, scores=" + ".join(used))
        for name, (low, high) in (("one width", one), ("by case", by_case)):
            inside = (low <= cases["lesion_dice"]) & (cases["lesion_dice"] <= high)
            rows[[f"{name}: inside", f"{name}: width"]] = np.column_stack([inside, high - low])
        found.append(rows)
    return pd.concat(found)


def errors(rows: pd.DataFrame, name: str) -> dict:
    """Mean absolute error, bias and rank correlation of a column that predicts the Dice."""
    error = rows[name] - rows["lesion_dice"]
    return {"mae": error.abs().mean(), "bias": error.mean(), "rho": rows[name].corr(rows["lesion_dice"], "spearman")}


def main(*tables: str) -> None:
    validation, test = reference.cases("validation"), reference.cases("test")
    blocks = {"test rows": test} | {path: pd.read_csv(path).dropna(subset=["lesion_dice"]) for path in tables}
    ranked = calibrated.compare(thresholds.one_row_a_case(validation)).add_prefix("validation, out of fold: ")
    for name, rows in blocks.items():
        print(f"\n{name} ({len(rows)})")
        usable = {key: scores for key, scores in calibrated.CANDIDATES.items() if key in ranked.index}
        usable = {key: scores for key, scores in usable.items() if rows.get(scores[0], pd.Series()).notna().any()}
        found = {key: errors(asked(validation, rows, scores), "predicted") for key, scores in usable.items()}
        found["predicted_dice_mask as it is"] = errors(rows, "predicted_dice_mask")
        print(ranked.join(pd.DataFrame.from_dict(found, orient="index"), how="right").round(3).to_string())

        rows = asked(validation, rows)
        print(f"\nchosen: {', '.join(rows['scores'].unique())}; {100 * LEVEL:g} % intervals")
        third = pd.qcut(rows["volume_ml"], 3, labels=["small loads", "middle", "large"])
        groups = [
            ("all", rows),
            *rows.groupby(third, observed=True),
            *rows.groupby("database" if "database" in rows else third),
        ]
        columns = [column for column in rows if ": " in column]
        print(pd.DataFrame({group: part[columns].mean() for group, part in groups}).T.round(2).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
