"""What a chapter says of judged scans: each sentence follows from the records, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from wmhqc import failure
from wmhqc.book.examples import OF_MASKS, Seen, predicted
from wmhqc.screen.render import at_most, chance, dice, percent
from wmhqc.screen.report import share_or_chance
from wmhqc.screen.rule import Rule

#: Fewer patients than this are not ranked.
FEWEST = 5


def accepted(found: pd.DataFrame, who: str = "patients") -> str:
    """How many were accepted, and how many of them failed on which grid, from `examples.outcomes`."""
    if found.empty:
        return f"No {who} with manual masks were available to this run."
    chosen = found[found["accepted"]]
    if chosen.empty:
        return f"None of the {len(found)} {who} is accepted."
    failed, on_scan = int(chosen["failed"].sum()), int(chosen["failed_on_scan"].sum())
    end = "none of them has failed, neither on the networks' grid nor on the scan's own"
    if failed or on_scan:
        end = f"{failed or 'none'} of them failed on the networks' grid, {on_scan or 'none'} on the scan's own"
    return f"{len(chosen)} of the {len(found)} {who} are accepted; {end}."


def on_scan(found: pd.DataFrame) -> str:
    """The Dice of the accepted on the scan's own grid, from `examples.outcomes`; empty where there is none."""
    values = found.loc[found["accepted"], "on_scan"]
    if values.empty:
        return ""
    return f"On the scan's own grid the accepted have a Dice of {dice(values.min())} to {dice(values.max())}."


def off_by(found: pd.DataFrame) -> str:
    """How far predictions are off, from `examples.outcomes`; empty where nothing is known."""
    errors = (found["predicted"] - found["true"]).abs()
    return f"The predicted Dice is off by {errors.mean():.2f} on average." if len(errors) else ""


def guarantee(rule: Rule) -> str:
    """What a rule guarantees for a new scan."""
    if not rule.possible:
        return "nothing can be guaranteed with these calibration cases"
    text = f"at most {at_most(rule.choice.risk)} of the accepted fail, with {percent(rule.level)} certainty"
    return f"{text}, and about {percent(round(rule.choice.coverage, 2))} are accepted"


def chance_of(record: Mapping) -> str:
    """The chance that the mask of a record failed, with its interval, and what tells it from the guarantee."""
    failed = record["failure"]
    if failed["chance"] is None:
        return "not known, as too few labelled cases are there."
    ends = f"{percent(record['predicted_dice']['level'])} interval {chance(failed['low'])} to {chance(failed['high'])}"
    return f"{chance(failed['chance'])} for {record['case']} ({ends}). {share_or_chance(record)}".strip()


def missed(record: Mapping | None, errors) -> str:
    """How near a mask was to being accepted, beside how far off predictions are; empty where there is none."""
    doubted = record and [finding["kind"] for finding in record["findings"]] == ["doubt"]
    if not doubted or not record["guarantee"]["possible"] or not len(errors):
        return ""
    gap = record["guarantee"]["threshold"] - record["predicted_dice"]["value"]
    if gap < errors.mean():
        return f"Predictions are off by {errors.mean():.2f} on average: so near the threshold chance decides."
    return (
        f"That is more than predictions are off by on average, {errors.mean():.2f}: this one is further off than most."
    )


def given_away(seen: Sequence[Seen], tau: float = 0.5) -> int:
    """How many of the judged scans have a predicted Dice below `tau`."""
    values = [each.record["predicted_dice"]["value"] for each in seen if not each.problem]
    return sum(value is not None and value < tau for value in values)


def told(seen: Seen) -> str:
    """What is said of a scan that should not be accepted."""
    if seen.problem:
        return f"It is refused: {seen.problem}"
    record = seen.record
    return f"{record['verdict'].capitalize()}: {' '.join(record['reasons'])} Predicted Dice {predicted(record)}."


def strangers(seen: Sequence[Seen], tau: float = 0.5) -> str:
    """Which scans of another kind would be accepted, and what gives them away."""
    judged = {each.name: each.record for each in seen if not each.problem}
    wrong = [name for name, record in judged.items() if record["verdict"] == "accept"]
    said = f"None of the {len(judged)} that are judged is accepted."
    if wrong:
        said = f"{len(wrong)} of the {len(judged)} that are judged would be accepted, wrongly: {', '.join(wrong)}."
    values = {name: record["predicted_dice"]["value"] for name, record in judged.items()}
    passing = [name for name, value in values.items() if value is not None and value >= tau]
    said += " The predicted Dice alone " + (
        f"would let pass: {', '.join(passing)}." if passing else "gives all of them away."
    )
    unlike = [name for name, record in judged.items() if not record["ood"]["in_distribution"]]
    said += f" The distance does so for {len(unlike)}"
    like = [name for name in judged if name not in unlike]
    said += f", and not for: {', '.join(like)}." if like else "."
    turned = [name for name, record in judged.items() if not record["orientation"]["upright"]]
    return said + (f" Found to lie otherwise than the header says: {', '.join(turned)}." if turned else "")


def alike(seen: Sequence[Seen]) -> str:
    """Which scans of another kind the distance takes for ordinary ones, and what keeps these for review."""
    said = []
    for each in seen:
        record = each.record
        if not each.problem and record["ood"]["in_distribution"]:
            kept = " ".join(record["reasons"]).rstrip(".")
            said.append(f"{each.name}, {f'for review as “{kept}”' if kept else 'which is accepted'}")
    if not said:
        return "The distance tells each of these scans from the calibration cases."
    return (
        f"The distance takes {len(said)} of these scans for ones of that kind: {'; '.join(said)}. So “of that kind” "
        "says nothing about the disease: no feature looks at lesions."
    )


def masks(table: pd.DataFrame, own: Mapping[str, Mapping]) -> str:
    """What tells good masks of other programs from bad ones, from `examples.masks_table` and our own records."""
    ranks = ranked_masks(table)
    if not ranks:
        return "No masks of other programs were available to this run."
    each = "; ".join(f"{name} {value:.2f} ({low:.2f} to {high:.2f})" for name, (value, low, high) in ranks.items())
    pairs = table[table["patient"].isin(own)]
    ours = [own[case] for case in pairs["patient"]]
    better = pairs["true Dice"] > [record["truth"]["dice_on_scan"] for record in ours]
    said_so = better & (pairs["predicted"] > [record["scores"]["predicted_dice_mask"] for record in ours])
    than_ours = f"{better.sum() or 'None'} of the {len(pairs)} masks beat our own of the same scan"
    than_ours += f", and for {said_so.sum()} of these the predicted Dice says so." if better.any() else "."
    return (
        f"Spearman's rank correlation with the true Dice, over {len(table)} masks of "
        f"{table['patient'].nunique()} patients: {each} (95 % intervals). {_settled(ranks)}{than_ours}"
    )


def _settled(ranks: Mapping[str, tuple]) -> str:
    (_, low, _), *others = ranks.values()
    overlap = any(high >= low for _, _, high in others)
    return "The intervals overlap, so which is best is not settled. " if overlap else ""


def of_others(table: pd.DataFrame, records: Sequence[Mapping]) -> str:
    """What came of masks of other programs, from `examples.masks_table` and their records; empty without any."""
    if table.empty:
        return ""
    accepted = sum(record["verdict"] == "accept" for record in records)
    said = f"The verdict is *review* for {len(records) - accepted} of the {len(records)} masks."
    if not any(record["guarantee"]["possible"] for record in records):
        said += " Nothing is guaranteed for any: the calibration cases are masks of our own networks."
    worst = []
    for name in ("predicted", "expected"):
        row = table.loc[(table[name] - table["true Dice"]).abs().idxmax()]
        worst.append(f"{name} {dice(row[name])}, true {dice(row['true Dice'])} ({row['mask']})")
    return (
        f"{said} The numbers put masks in an order; they are no Dice to rely on, at worst {' and '.join(worst)}. "
        "A guarantee takes labelled masks of that program."
    )


def ranked_masks(table: pd.DataFrame) -> dict[str, tuple]:
    """Spearman's rank correlation with the true Dice, and its interval, of each of `OF_MASKS`; the best first.

    Nothing where there are too few masks.
    """
    if table.get("true Dice", pd.Series(dtype=float)).nunique() < 3:
        return {}
    ranks = {
        name: failure.bootstrap(failure.spearman, table["true Dice"], table[name], strata=table["patient"])
        for name in OF_MASKS.values()
    }
    return dict(sorted(ranks.items(), key=lambda item: -item[1][0]))


def ranking(records: Sequence[Mapping], tau: float = 0.5) -> tuple[pd.DataFrame, str]:
    """The scoreboard of scores over patients with manual masks, best AURC first, and a sentence about it."""
    rows = [record["scores"] | record["truth"] | {"case": record["case"]} for record in records]
    if len(rows) < FEWEST:
        return pd.DataFrame(), "Too few patients with manual masks were available to rank the scores."
    board = failure.scoreboard(pd.DataFrame(rows), tau=tau).drop(index=["random", "oracle"]).sort_values("aurc")
    better = int((board["aurc"] < board.loc["volume_ml", "aurc"]).sum())
    sure = int((board["auroc_gain_low"] > 0).sum())
    return board, (
        f"{better} of the {len(board) - 1} scores measured on one scan have a lower AURC than the predicted "
        f"volume; for {sure or 'none'} the gain in AUROC over it has an interval above zero. {len(rows)} patients are "
        "too few to settle an order."
    )
