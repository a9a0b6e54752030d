import numpy as np
import pytest

from wmhqc import networks, regression

SIZE = 16
MAP = np.full((SIZE, SIZE, SIZE), 0.5, "float32")


@pytest.mark.parametrize(
    "name, maps, expected",
    [
        ("image", {"mean": MAP / 2}, (0.25, 0.5)),
        ("uncertainty", {"mean": MAP / 2, "entropy": MAP}, (0.25, 0.5)),
        ("error", {"mean": MAP / 2, "error": -MAP}, (0.25, -0.5)),
        ("mask", {"mask": MAP > 0}, (1, 0.5)),
    ],
)
def test_pairs_hold_what_is_judged_and_a_scaled_map(name, maps, expected):
    pair = regression.pair_of(name, maps, MAP * 255)
    assert pair.shape == (SIZE, SIZE, SIZE, 2) and pair.dtype == np.float32
    np.testing.assert_allclose(pair[..., 0], expected[0])
    np.testing.assert_allclose(pair[..., 1], expected[1])


def test_unknown_pair_and_missing_map():
    with pytest.raises(ValueError, match="image, uncertainty, error, mask"):
        regression.pair_of("noise", {}, MAP)
    with pytest.raises(ValueError, match="needs the map error"):
        regression.pair_of("error", {"mean": MAP}, MAP)


def test_what_follows_from_the_kept_maps():
    maps = regression.with_entropy({"mean": MAP})
    assert (maps["mask"]).all() and np.allclose(maps["entropy"], 1)


def test_predicted_dice_is_one_number_that_depends_on_the_pair():
    model = networks.reg_net(SIZE)
    pairs = (regression.pair_of("error", {"mean": m, "error": m}, m) for m in (MAP * 2, MAP))
    ones, halves = (regression.predict_dice(model, pair) for pair in pairs)
    assert isinstance(ones, float) and ones != halves


# ---------------------------------------------------------------- conformal interval


def test_conformal_interval_by_hand():
    # 9 cases, errors 0.01 ... 0.09: the ceil(10 * 0.8) = 8th is 0.08, the 9th of 0.9 is 0.09.
    dice = np.full(9, 0.5)
    predicted = dice + np.arange(1, 10) / 100 * np.resize([1, -1], 9)
    low, high = regression.conformal_interval([0.4, 0.05, 0.97], predicted, dice, 0.8)
    np.testing.assert_allclose(low, [0.32, 0.0, 0.89])
    np.testing.assert_allclose(high, [0.48, 0.13, 1.0])
    np.testing.assert_allclose(regression.conformal_interval(0.4, predicted, dice, 0.9), [[0.31], [0.49]])


def test_too_few_cases_guarantee_nothing_narrower_than_0_to_1():
    low, high = regression.conformal_interval([0.4, np.nan], np.full(8, 0.5), np.full(8, 0.5), 0.9)
    assert (low[0], high[0]) == (0, 1) and np.isnan([low[1], high[1]]).all()
    assert regression.conformal_interval(0.4, np.full(9, 0.5), np.full(9, 0.5), 0.9) == (0.4, 0.4)
    assert regression.conformal_interval(0.4, [], [], 0.5) == (0, 1)


@pytest.mark.parametrize("n, level", [(19, 0.9), (80, 0.9), (80, 0.75), (13, 0.6)])
def test_conformal_interval_holds_the_truth_as_often_as_it_says_and_hardly_more(n, level):
    rng, draws = np.random.default_rng(0), 2000
    dice = rng.uniform(0.2, 0.8, (draws, n + 1))
    predicted = dice + rng.normal(0.05, 0.05, dice.shape)  # biased: the level does not need a good network
    held = []
    for d, p in zip(dice, predicted):
        low, high = regression.conformal_interval(p[0], p[1:], d[1:], level)
        held.append(low[0] <= d[0] <= high[0])
    exact = np.ceil((n + 1) * level - 1e-9) / (n + 1)
    assert level <= exact < level + 1 / (n + 1)
    assert abs(np.mean(held) - exact) < 4 * np.sqrt(exact * (1 - exact) / draws)


def test_mapie_gives_the_same_interval():
    mapie = pytest.importorskip("mapie.regression")
    rng = np.random.default_rng(1)
    dice = rng.uniform(0.2, 0.8, 40)
    predicted = dice + rng.normal(0, 0.05, 40)

    class Given:  # a regressor that was trained before: its input is the prediction
        fitted_ = True

        def fit(self, X, y):
            return self

        def predict(self, X):
            return np.ravel(X)

    theirs = mapie.SplitConformalRegressor(Given(), confidence_level=0.9, prefit=True)
    _, intervals = theirs.conformalize(predicted[:, None], dice).predict_interval(np.array([[0.4], [0.6]]))
    ours = regression.conformal_interval([0.4, 0.6], predicted, dice, 0.9)
    np.testing.assert_allclose(intervals[:, :, 0].T, ours)

    class Spread(Given):
        def predict(self, X):
            return 0.1 + 0.2 * np.ravel(X)

    from mapie.conformity_scores import ResidualNormalisedScore

    score = ResidualNormalisedScore(Spread(), prefit=True)
    theirs = mapie.SplitConformalRegressor(Given(), confidence_level=0.9, prefit=True, conformity_score=score)
    _, intervals = theirs.conformalize(predicted[:, None], dice).predict_interval(np.array([[0.4], [0.6]]))
    spreads = np.array([0.18, 0.22]), 0.1 + 0.2 * predicted
    ours = regression.conformal_interval([0.4, 0.6], predicted, dice, 0.9, *spreads)
    np.testing.assert_allclose(intervals[:, :, 0].T, ours)


def test_the_interval_is_as_wide_as_the_case_deserves():
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(6000) % 2, 0.02, 0.1)  # easy and hard cases
    dice = np.full(6000, 0.5)
    predicted = dice + rng.normal(0, spread)
    known, new = slice(0, 3000), slice(3000, None)
    held = {}
    for name, given in (("one width", (1.0, 1.0)), ("by case", (spread[new], spread[known]))):
        low, high = regression.conformal_interval(predicted[new], predicted[known], dice[known], 0.9, *given)
        inside = (low <= dice[new]) & (dice[new] <= high)
        held[name] = [inside[spread[new] == s].mean() for s in (0.02, 0.1)]
    assert held["one width"][0] > 0.99 and held["one width"][1] < 0.85
    np.testing.assert_allclose(held["by case"], 0.9, atol=0.03)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"level": 90}, "level must lie between 0 and 1, got 90"),
        ({"calibration_dice": [0.5]}, "got \\(2,\\) and \\(1,\\)"),
        ({"calibration_dice": [0.5, np.nan]}, "none of them missing"),
    ],
)
def test_bad_calibration_cases_are_refused(change, message):
    given = {"predicted": 0.5, "calibration_predicted": [0.4, 0.5], "calibration_dice": [0.5, 0.5]}
    with pytest.raises(ValueError, match=message):
        regression.conformal_interval(**given | change)
