"""What `wmhqc qc` says about every real scan at hand, beside the truth.

    python benchmarks/verdicts.py [FOLDER ...]

Judges the patients that can be had (`wmhqc.sources.available`), those in further folders, each with
sub-x/sub-x_FLAIR.nii.gz and so on, and scans that must not be accepted: each with T1 and FLAIR exchanged, the
tumour and the whole head where they are at hand. Patients of the reference run are judged by networks that
have not learnt from them and are left out of the calibration. About 5 s a scan on one core.
"""

from __future__ import annotations

import sys

import pandas as pd

from wmhqc.failure import LOW_DICE, proportion_interval
from wmhqc.screen.judge import judge
from wmhqc.sources import available, layouts


def line(row: dict) -> dict:
    """Verdict, prediction and truth of one scan."""
    record = judge(row).record
    predicted, truth = record["predicted_dice"], record["truth"]
    return {
        "verdict": record["verdict"],
        "predicted": predicted["value"],
        "low": predicted["low"],
        "high": predicted["high"],
        "true": truth.get("lesion_dice"),
        "on scan": truth.get("dice_on_scan"),
        "ml": record["scores"]["volume_ml"],
        "contrast": record["scores"]["contrast"],
        "distance": record["ood"]["score"],
        "reasons": " ".join(record["reasons"]),
    }


def lines(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame.from_dict({row["case"]: line(row) for row in rows}, orient="index")


def summary(table: pd.DataFrame) -> pd.Series:
    """How well the Dice was predicted, what the intervals hold, what was accepted."""
    accepted = table[table["verdict"] == "accept"]
    inside = table["true"].between(table["low"], table["high"])
    failed = int((accepted["true"] < LOW_DICE.tau).sum())
    return pd.Series(
        {
            "scans": len(table),
            "mean absolute error": (table["predicted"] - table["true"]).abs().mean(),
            "rho": table["predicted"].corr(table["true"], "spearman"),
            "rho of the volume": table["ml"].corr(table["true"], "spearman"),
            "inside the interval": inside.mean(),
            "mean width": (table["high"] - table["low"]).mean(),
            "accepted": len(accepted),
            "accepted and failed": failed,
            "at most (95 %)": proportion_interval(failed, len(accepted))[1] if len(accepted) else float("nan"),
        }
    )


def main(*folders: str) -> None:
    known, _ = available.real_patients(progress=False)
    groups = {"patients at hand": known} | {folder: layouts.from_folder(folder) for folder in folders}
    for name, table in groups.items():
        found = lines(table.to_dict("records"))
        print(f"\n{name}\n{found.round(2).to_string()}\n\n{summary(found).round(2).to_string()}")
    rows = [row for table in groups.values() for row in table.to_dict("records")]
    exchanged = [row | {"t1": row["flair"], "flair": row["t1"], "lesion": ""} for row in rows]
    for name, rows in (
        ("T1 and FLAIR exchanged", exchanged),
        ("other scans", available.odd_scans().to_dict("records")),
    ):
        found = lines(rows)
        print(f"\n{name}: {(found.verdict == 'accept').sum()} of {len(found)} accepted\n{found.round(2).to_string()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
