"""Charts hold the points they were given, and say in words what they show."""

import numpy as np
import pandas as pd
import pytest

from wmhqc.book import charts


def table():
    dice = np.array([0.9, 0.8, 0.7, 0.6, 0.3, np.nan])
    return pd.DataFrame(
        {
            "case": [f"sub-{i}" for i in range(6)],
            "database": ["MS17"] * 3 + ["other"] * 3,
            "lesion_dice": dice,
            "volume_ml": [9, 8, 7, 6, 3, 5],
            "predicted_dice_image": [0.8, 0.8, 0.8, 0.8, 0.8, 0.1],
        }
    )


def test_scatter_of_a_score():
    figure = charts.scatter_dice(table(), "volume_ml", tau=0.75)
    names = [trace.name for trace in figure.data]
    assert names == ["95 % band", "regression line", "MS17", "other"]
    line = figure.data[1]
    np.testing.assert_allclose(line.y, np.array(line.x) / 10)
    assert list(figure.data[3].text) == ["sub-3", "sub-4"]
    assert 0.75 in {shape.y0 for shape in figure.layout.shapes}
    assert all(shape.showlegend for shape in figure.layout.shapes) and not figure.layout.annotations
    alt = figure.layout.meta["alt"]
    assert "5 cases" in alt and "r = 1.00" in alt and "3 cases have a Dice below 0.75" in alt
    assert figure.layout.paper_bgcolor == "white"
    symbols = {trace.marker.symbol for trace in figure.data if trace.mode == "markers"}
    assert len(symbols) == 2  # databases differ in shape, not in colour alone


def test_confidence_band_is_that_of_least_squares():
    """Against the textbook band of the mean, computed by matrices."""
    rng = np.random.default_rng(0)
    x = rng.random(12)
    y = x + 0.3 * rng.standard_normal(12)
    line = charts._regression(x, y)
    design = np.column_stack([np.ones(12), x])
    beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    at = np.column_stack([np.ones(50), line["x"]])
    half = 2.228139 * np.sqrt(rss[0] / 10 * np.einsum("ij,jk,ik->i", at, np.linalg.inv(design.T @ design), at))
    np.testing.assert_allclose(line["y"], at @ beta)
    np.testing.assert_allclose(line["high"] - line["y"], half, rtol=1e-5)


def test_scatter_of_a_constant_prediction_has_no_line_but_the_perfect_one():
    names = [trace.name for trace in charts.scatter_dice(table(), "predicted_dice_image").data]
    assert names == ["MS17", "other", "perfect prediction"]
    with pytest.raises(ValueError, match="no case has both"):
        charts.scatter_dice(table()[5:], "volume_ml")


def test_risk_coverage_curves():
    figure = charts.risk_coverage(table(), {"volume_ml": "volume", "predicted_dice_image": "predicted"})
    curves = {trace.name: trace for trace in figure.data}
    assert list(curves) == ["volume", "predicted", "oracle", "chance"]
    risk = np.array([0.1, 0.2, 0.3, 0.4, 0.7])
    np.testing.assert_allclose(curves["oracle"].y, np.cumsum(risk) / np.arange(1, 6))
    np.testing.assert_allclose(curves["volume"].y, curves["oracle"].y)
    np.testing.assert_allclose(curves["predicted"].y, risk.mean())  # all tied: no better than chance
    assert "volume 0.208" in figure.layout.meta["alt"]


def test_cumulative_curves_end_at_one_and_say_their_quartiles():
    figure = charts.cumulative({"few": [4, 1, np.nan, 2], "none": []}, "Load", "load (%)")
    (curve,) = figure.data
    assert list(curve.x) == [1, 2, 4] and curve.y[-1] == 1 and figure.layout.xaxis.type == "log"
    assert "few: median 2, middle half 1.5 to 3." in figure.layout.meta["alt"]
    with pytest.raises(ValueError, match="no values"):
        charts.cumulative({"none": [np.nan]}, "Load", "load (%)")
