"""Where to put the threshold: below it a person looks at the case.

Every rule looks only at *validation* cases (their Dice and confidence) and
returns a `Choice`. Chosen on test cases, a threshold flatters itself.

Rules without a guarantee: `for_sensitivity`, `for_coverage`,
`for_agreement`. Rules with a guarantee for new cases that are exchangeable with
the validation cases (same scanners, same patients, no new artefact):

=================== =============================== ==========================
rule                bounds                          holds
=================== =============================== ==========================
`guaranteed_risk`   P(failed | accepted)            with probability `level`
`best_guarantee`    the same, as low as can be had  with probability `level`
`conformal_risk`    P(accepted and failed)          on average
`neyman_pearson`    P(accepted | failed)            with probability `level`
=================== =============================== ==========================

What is guaranteed is what the confidence decides. Where a case must also pass
other filters to be accepted, a case that one of them stops has the confidence
-inf (or NaN), and the guarantee is that of the whole rule.

References
----------
Geifman & El-Yaniv, NeurIPS 2017 (selection with guaranteed risk). Angelopoulos
et al., 2021, arXiv:2110.01052 (Learn then Test). Angelopoulos et al., ICLR 2024
(conformal risk control). Tong et al., Science Advances 2018 (Neyman-Pearson).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from wmhqc import catalogue, failure
from wmhqc.failure import confusion, flag

#: Share of the validation cases, the most trusted, at which `guaranteed_risk` starts.
START = 1 / 3


@dataclass(frozen=True)
class Choice:
    """A threshold and what may be said about it.

    Attributes
    ----------
    threshold : float
        Cases with a confidence of at least this are accepted (see `wmhqc.failure.flag`).
        -inf accepts all, inf or NaN none; NaN also means that nothing can be guaranteed.
    message : str
        What was reached on the validation cases, or why nothing can be guaranteed.
    risk : float
        The share of failures that is guaranteed, of what the rule bounds; NaN without a guarantee.
    coverage : float
        Share of the validation cases that the threshold accepts.
    """

    threshold: float
    message: str
    risk: float = math.nan
    coverage: float = 0.0

    @property
    def possible(self) -> bool:
        """False where the rule cannot be followed with these cases."""
        return not math.isnan(self.threshold)


# ---------------------------------------------------------------- without a guarantee


def for_sensitivity(dice, confidence, tau: float, sensitivity: float = 0.9) -> Choice:
    """Flag as few validation cases as possible while catching this share of the failed ones."""
    dice, confidence = _cases(dice, confidence)
    _share("sensitivity", sensitivity)
    failed = np.sort(confidence[dice < tau])
    if failed.size == 0:
        return Choice(math.nan, "no validation case failed, so a sensitivity cannot be aimed at")
    catch = math.ceil(round(sensitivity * failed.size, 9))
    return _reached(dice, confidence, tau, _above(failed[catch - 1]))


def for_coverage(dice, confidence, tau: float, coverage: float = 0.8) -> Choice:
    """Accept this share of the validation cases, the most trusted (more if there are ties)."""
    dice, confidence = _cases(dice, confidence)
    _share("coverage", coverage)
    accept = math.ceil(round(coverage * confidence.size, 9))
    return _reached(dice, confidence, tau, np.sort(confidence)[-accept])


def for_agreement(dice, confidence, tau: float) -> Choice:
    """Highest sensitivity + specificity on the validation cases (Youden's index), the lowest threshold of equals.

    The paper took "a threshold value which correlated with failed segmentation
    results"; this is such a rule written down. It does not maximise the mean
    Dice after removal, which is highest when nearly everything is removed.
    """
    dice, confidence = _cases(dice, confidence)
    if len(np.unique(dice < tau)) < 2:
        return Choice(math.nan, "needs both failed and good validation cases")
    candidates = [-np.inf, *np.unique(confidence[np.isfinite(confidence)]), np.inf]
    found = [confusion(dice, flag(_undefined(confidence), threshold), tau) for threshold in candidates]
    return _reached(dice, confidence, tau, candidates[np.argmax([c["sensitivity"] + c["specificity"] for c in found])])


# ---------------------------------------------------------------- with a guarantee


@functools.cache
def cases_needed(risk: float, failed: int = 0, *, level: float = 0.9) -> int:
    """Fewest cases, `failed` of them failed, that show a rate of at most `risk` at this confidence level.

    22 for 10 % and 45 for 5 % at the level 90 % if none failed.
    """
    _share("risk", risk)
    _share("level", level)
    n = max(failed + 1, math.ceil(round(math.log(1 - level) / math.log1p(-risk), 9)))  # so many if none failed
    while _chance(failed, n, risk) > 1 - level:
        n += 1
    return n


def guaranteed_risk(dice, confidence, tau: float, risk: float = 0.1, *, level: float = 0.9) -> Choice:
    """At most `risk` of the accepted cases fail, with probability `level` (Learn then Test).

    Starts at the most trusted third of the cases (`START`; at more where a third is too few to
    show the risk), accepts one more at a time, and stops where the Clopper-Pearson upper bound
    on the failures among the accepted first exceeds `risk`. The start is fixed before any
    outcome is seen, and grows with the cases: so one failure among the most trusted costs
    little where there are many. Valid if failure gets no rarer as confidence falls: the walk
    then passes the last allowed threshold by mistake only if a binomial bound fails there,
    which has probability 1 - `level`.

    The same as MAPIE's `control_fwer` with "fixed_sequence" on these p-values, which a test
    checks. MAPIE 1.6's `BinaryClassificationController` is not used: it turns the walk round
    when the observed risks fall along it, and a direction chosen by looking at the outcomes is
    not covered by the level: a test shows a useless score that it guarantees too often.
    """
    dice, confidence = _cases(dice, confidence)
    steps, accepted, failed = _walk(dice, confidence, tau, risk, level)
    # The bound is at most `risk` just where so few failures had a chance of at most 1 - level at that risk.
    shown = np.logical_and.accumulate(_chance(failed, accepted, risk) <= 1 - level)
    if not shown.any():
        return Choice(math.nan, f"cannot be guaranteed with these cases: {_missing(accepted, failed, risk, level)}")
    return _reached(dice, confidence, tau, steps[shown][-1], risk)


def best_guarantee(dice, confidence, tau: float, risk: float = 0.1, *, level: float = 0.9) -> Choice:
    """`guaranteed_risk` if it can be had; else the lowest risk that can, with the share of cases it is for.

    Where the first step of the walk does not show the risk that is asked for, its own
    Clopper-Pearson bound is the answer, for what this step accepts. One confidence level covers
    both answers: either is wrong only if the bound of one step fails, the first step if its true
    risk exceeds what is asked, else the last step that may be passed. A risk for which the walk
    would start beyond half of the cases is not tried: the answer is then the bound on the most
    trusted third, or on as many as could show a risk of 10 %.

    Returns
    -------
    Choice
        `risk` is what is guaranteed, `coverage` for which share of cases. Impossible only if no
        case has a score.
    """
    dice, confidence = _cases(dice, confidence)
    tried = cases_needed(risk, level=level) <= max(np.isfinite(confidence).sum() / 2, cases_needed(0.1, level=level))
    choice = guaranteed_risk(dice, confidence, tau, risk, level=level) if tried else None
    if choice and choice.possible:
        return choice
    steps, accepted, failed = _walk(dice, confidence, tau, risk if tried else 0.1, level)
    if not steps.size:
        return Choice(math.nan, "cannot be guaranteed: no case has a score")
    return _reached(dice, confidence, tau, steps[0], _upper_bound(failed[0], accepted[0], level))


def guarantee_at(dice, confidence, tau: float, threshold: float, *, level: float = 0.9) -> Choice:
    """What a threshold guarantees that was set without these cases: at most `risk` of the accepted fail.

    The Clopper-Pearson bound on the failures among the cases that it accepts; impossible if it accepts none.
    """
    dice, confidence = _cases(dice, confidence)
    accepted = confidence >= threshold
    if not accepted.any():
        return Choice(math.nan, f"cannot be guaranteed: none of {len(dice)} cases reaches the threshold")
    bound = _upper_bound(int((dice[accepted] < tau).sum()), int(accepted.sum()), level)
    return _reached(dice, confidence, tau, threshold, bound)


def _upper_bound(failed: int, accepted: int, level: float) -> float:
    """Clopper-Pearson: the rate of failure is at most this, at the confidence level."""
    return 1.0 if failed == accepted else float(stats.beta.ppf(level, failed + 1, accepted - failed))


def _walk(dice, confidence, tau: float, risk: float, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds from the start on, strict to lax, with the cases that each accepts and the failed ones of these."""
    scored = np.isfinite(confidence)
    start = min(scored.sum(), max(cases_needed(risk, level=level), math.ceil(round(START * scored.sum(), 9))))
    steps = np.unique(confidence[scored])[::-1]
    accepted = np.searchsorted(np.sort(-confidence[scored]), -steps, "right")
    failed = np.searchsorted(np.sort(-confidence[scored & (dice < tau)]), -steps, "right")
    walk = accepted >= start
    return steps[walk], accepted[walk], failed[walk]


def _missing(accepted, failed, risk: float, level: float) -> str:
    """What it would take to pass the first step of the walk."""
    if not accepted.size:
        return "none has a score"
    n, lost, least = int(accepted[0]), int(failed[0]), cases_needed(risk, level=level)
    if n < least:
        return f"{n} with a score, {lost} of them failed; {least} with none failed are needed"
    words = f"{lost} of the {n} most trusted failed"
    if lost / n >= risk:
        return f"{words}; more cases would not mend that, only a better score or better segmentations"
    more = np.arange(n, 10_000)
    enough = more[_chance(np.ceil(more * lost / n), more, risk) <= 1 - level]
    return f"{words}; " + (
        f"if no greater share fails, about {math.ceil(enough[0] / START)} cases are enough"
        if enough.size
        else "that is too close to what is asked for more cases to show it"
    )


def _chance(failed, n, risk: float):
    """Chance of at most so many failures of n, if the rate is `risk`."""
    return stats.binom.cdf(failed, n, risk)


def conformal_risk(dice, confidence, tau: float, risk: float = 0.1) -> Choice:
    """At most `risk` of all cases are accepted and failed, on average over validation sets.

    This is not the failure rate among the accepted: a rule that accepts nearly
    nothing, or a cohort that seldom fails, satisfies it without finding anything.
    """
    dice, confidence = _cases(dice, confidence)
    _share("risk", risk)
    n, failed = len(dice), np.sort(confidence[dice < tau])[::-1]
    allowed = math.floor(round(risk * (n + 1), 9)) - 1  # (missed + 1) / (n + 1) <= risk
    if allowed < 0:
        needed = math.ceil(round(1 / risk - 1, 9))
        return Choice(math.nan, f"cannot be guaranteed with this many cases: {n}, {needed} are needed")
    threshold = _above(failed[allowed]) if failed.size > allowed else -math.inf
    return _reached(dice, confidence, tau, threshold, risk)


def neyman_pearson(dice, confidence, tau: float, risk: float = 0.1, *, level: float = 0.9) -> Choice:
    """At most `risk` of the failed cases are accepted, with probability `level`.

    Accepts above an order statistic of the confidence of the failed validation cases.
    """
    dice, confidence = _cases(dice, confidence)
    needed = cases_needed(risk, level=level)
    failed = np.sort(confidence[dice < tau])
    if failed.size < needed:
        reason = f"{failed.size} failed, {needed} failed are needed"
        return Choice(math.nan, f"cannot be guaranteed with this many cases: {reason}")
    # Chance that more than `risk` of the failed lie above the k-th: binomial tail (Tong et al., Prop. 1).
    k = np.arange(1, failed.size + 1)
    violation = stats.binom.sf(k - 1, failed.size, 1 - risk)
    return _reached(dice, confidence, tau, _above(failed[np.argmax(violation <= 1 - level)]), risk)


# ---------------------------------------------------------------- over folds


def one_row_a_case(validation: pd.DataFrame, without=()) -> pd.DataFrame:
    """Validation rows of all folds for a guarantee: each case once, none of `without`.

    A guarantee counts cases as independent, so a case that is validation in several folds
    counts once, in the first. For the test cases of a fold, leave those out with
    `without`: another fold may have them for validation.
    """
    return validation[~validation["case"].isin(list(without))].drop_duplicates("case")


def per_fold(
    rule: Callable,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    score: str,
    tau: float = 0.5,
    pooled: bool = False,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Choose a threshold for each fold, and flag that fold's test cases with it.

    Parameters
    ----------
    rule : function of dice, confidence, tau returning a `Choice`
        For example ``lambda d, q, t: for_sensitivity(d, q, t, 0.9)``.
    validation, test : DataFrame
        Rows with `case`, `score`, `lesion_dice` and `fold` (without it, all are one fold).
    pooled : bool
        False: a fold's threshold is chosen on its own validation cases. True: on those of
        all folds, each case once, without the fold's test cases; each was scored by a
        network that did not learn from it, but not by the fold's own.

    Returns
    -------
    flagged : bool array, one per row of `test`
        All of a fold where nothing can be chosen.
    choices : DataFrame, one row per fold
        `cases` that the choice was made on, `threshold` in the unit of the score (NaN where
        there is none), `message`.
    """
    folds = test["fold"] if "fold" in test else pd.Series(0, test.index)
    flagged, rows = np.ones(len(test), bool), {}
    for fold in sorted(folds.unique()):
        inside = (folds == fold).to_numpy()
        if pooled:
            known = one_row_a_case(validation, test.loc[inside, "case"])
        else:
            known = validation[validation["fold"] == fold] if "fold" in validation else validation
        choice = rule(known["lesion_dice"], failure.confidence(known, score), tau)
        flagged[inside] = flag(failure.confidence(test[inside], score), choice.threshold)
        rows[fold] = {
            "cases": len(known),
            "threshold": catalogue.sign(score) * choice.threshold,
            "message": choice.message,
        }
    return flagged, pd.DataFrame.from_dict(rows, orient="index").rename_axis("fold")


def outcome(dice, flagged, tau: float = 0.5) -> dict:
    """The rates that guarantees are about, on cases that had no say in the threshold.

    Returns
    -------
    dict
        `accepted` cases and `slipped`, the failed ones among them; `coverage`; the rates of
        `simulate`: `failed_of_accepted` with its 95 % interval `low` to `high`
        (Clopper-Pearson), `accepted_and_failed`, `accepted_of_failed`. NaN where undefined.
    """
    c = confusion(dice, flagged, tau)
    accepted, slipped, n = c["fn"] + c["tn"], c["fn"], len(np.asarray(dice))
    low, high = failure.proportion_interval(slipped, accepted)
    return {
        "accepted": accepted,
        "slipped": slipped,
        "coverage": accepted / n if n else math.nan,
        "failed_of_accepted": 1 - c["npv"],
        "low": low,
        "high": high,
        "accepted_and_failed": slipped / n if n else math.nan,
        "accepted_of_failed": 1 - c["sensitivity"],
    }


# ---------------------------------------------------------------- is the guarantee kept?


def simulate(rule: Callable, cases: int = 100, draws: int = 1000, drift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """What a threshold does to new cases, over many synthetic validation sets.

    Confidence is uniform on [0, 1]; a case fails with probability
    1 / (1 + exp(8 q - 2.5 - drift)), about a third of all cases without drift.

    Parameters
    ----------
    rule : function of dice, confidence, tau returning a `Choice`
        For example ``lambda d, q, t: guaranteed_risk(d, q, t, risk=0.1)``.
    drift : float
        Raises the odds of failure of the *new* cases by exp(drift), their confidence
        unchanged, as an artefact may do: then no guarantee holds.

    Returns
    -------
    DataFrame, one row per draw
        `threshold`; true rates on new cases: `coverage`, `failed_of_accepted` (NaN if none
        is accepted), `accepted_and_failed`, `accepted_of_failed`.
    """
    rng = np.random.default_rng(seed)

    def chance(q, drift=0.0):
        return 1 / (1 + np.exp(8 * q - 2.5 - drift))

    q = rng.random((draws, cases))
    failed = rng.random((draws, cases)) < chance(q)
    thresholds = np.array([rule(np.where(f, 0.0, 1.0), c, 0.5).threshold for f, c in zip(failed, q)])
    grid = (np.arange(20000) + 0.5) / 20000
    # Share of new cases that fail and are accepted, for a threshold at each grid point.
    above = np.append(np.cumsum(chance(grid, drift)[::-1])[::-1] / grid.size, 0)
    lowest = np.where(np.isnan(thresholds), 1, np.clip(thresholds, 0, 1))
    coverage = 1 - lowest
    missed = np.interp(lowest, np.arange(grid.size + 1) / grid.size, above)
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "coverage": coverage,
            "failed_of_accepted": np.divide(missed, coverage, out=np.full(draws, np.nan), where=coverage > 0),
            "accepted_and_failed": missed,
            "accepted_of_failed": missed / above[0],
        }
    )


# ---------------------------------------------------------------- helpers


def _cases(dice, confidence) -> tuple[np.ndarray, np.ndarray]:
    """Checked arrays; an undefined confidence becomes -inf, the least trusted."""
    dice, confidence = np.asarray(dice, float), np.asarray(confidence, float)
    if dice.ndim != 1 or dice.shape != confidence.shape or dice.size == 0 or np.isnan(dice).any():
        raise ValueError(
            f"expected one Dice and one confidence per validation case, got {dice.shape} and "
            f"{confidence.shape} with {np.isnan(dice).sum()} Dice missing"
        )
    return dice, np.where(np.isnan(confidence), -np.inf, confidence)


def _share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")


def _above(confidence: float) -> float:
    """Lowest threshold that flags this confidence."""
    return float(np.nextafter(confidence, np.inf))


def _reached(dice, confidence, tau: float, threshold: float, risk: float = math.nan) -> Choice:
    c = confusion(dice, flag(_undefined(confidence), threshold), tau)
    accepted = c["fn"] + c["tn"]
    message = (
        f"validation: {c['flagged']} of {len(dice)} flagged, {c['tp']} of {c['tp'] + c['fn']} failed caught, "
        f"{c['fn']} of {accepted} accepted failed"
    )
    return Choice(float(threshold), message, risk, accepted / len(dice))


def _undefined(confidence) -> np.ndarray:
    """-inf back to NaN, which no threshold accepts."""
    return np.where(confidence == -np.inf, np.nan, confidence)
