"""Figures show what they were given: slices, limits, lines, boxes and their words."""

import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from wmhqc.book import figures

N = 16


def case(slice_=9, height=1.0):
    rng = np.random.default_rng(0)
    lesion = np.zeros((N, N, N), np.uint8)
    lesion[4:9, 5:8, slice_] = 1
    flair = 255 * rng.random((N, N, N)).astype(np.float32)
    return {
        "t1": flair, "flair": flair, "lesion": lesion, "prediction": 0.8 * lesion, "uncertainty": 0.5 * lesion,
        "blanked": flair * (1 - lesion), "reconstruction": flair, "error": height * lesion.astype(np.float32),
        "spacing": (1.0, 2.0, 3.0),
    }


def drawn(figure):
    """Images of a figure by their column's title, of the first row."""
    return {axis.get_title(): axis.get_images()[0] for axis in figure.axes if axis.get_title() and axis.get_images()}


def test_maps_of_cases():
    figure = figures.case_maps({"small": case(9), "large": case(3, height=2)})
    images = drawn(figure)
    assert list(images) == list(figures.MAPS.values())
    np.testing.assert_array_equal(images["Prediction"].get_array(), case()["prediction"][:, :, 9].T)
    np.testing.assert_array_equal(images["T1"].get_array(), case()["t1"][:, :, 9].T)
    low, high = images["Error map"].get_clim()
    assert low == -high and 1 < high <= 2  # symmetric, and the same for all rows
    assert images["Uncertainty"].get_clim() == (0, 1)
    assert images["T1"].axes.get_aspect() == 2
    assert {axis.get_ylabel() for axis in figure.axes} >= {"small", "large"}
    assert {axis.get_xlabel() for axis in figure.axes} >= {"entropy (bits)", "lesion probability"}
    assert len(images["FLAIR"].axes.collections) == 1 and not images["T1"].axes.collections
    FigureCanvasAgg(figure).draw()


def test_figures_are_white_and_not_left_open():
    import matplotlib.pyplot as plt

    figure = figures.case_maps({"a": case()})
    assert figure.get_facecolor() == (1, 1, 1, 1) and plt.get_fignums() == []


def test_missing_maps_have_no_column_or_an_empty_cell():
    part = {name: value for name, value in case().items() if name in ("flair", "prediction")}
    assert list(drawn(figures.case_maps({"a": part}))) == ["FLAIR", "Prediction"]
    both = figures.case_maps({"a": case(), "b": part})
    assert sum(text.get_text() == "none" for axis in both.axes for text in axis.texts) == 5
    with pytest.raises(ValueError, match="no case has a map"):
        figures.case_maps({"a": {"lesion": np.zeros((N, N, N))}})


def test_slice_with_most_lesion():
    assert figures._slice(case(5)) == 5
    nothing = case() | {"lesion": np.zeros((N, N, N))}
    assert figures._slice(nothing) == 9
    assert figures._slice(nothing | {"prediction": np.zeros((N, N, N))}) == N // 2


def test_maps_from_a_prepared_case(shared):
    from wmhqc import preprocess, uncertainty

    folder = shared / "data" / "real" / "sub-ms17p19"
    paths = [folder / f"sub-ms17p19_{part}.nii.gz" for part in ("T1w", "FLAIR", "lesion", "brainmask")]
    prepared = preprocess.prepare("sub-ms17p19", *paths, size=32)
    mc = uncertainty.summarise([0.9 * prepared.lesion, 0.7 * prepared.lesion])
    found = figures.maps(prepared, mc, prepared.volume[..., 1] / 255)
    assert set(found) == {*figures.MAPS, "lesion", "spacing"}
    assert np.abs(found["error"]).max() < 1e-6
    assert not found["blanked"][mc.mask].any()
    assert len(drawn(figures.case_maps({"patient": found}))) == 7


def test_learning_curves():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.9, 0.5, 0.4], "val_loss": [0.9, 0.6, 0.7]})
    figure = figures.learning_curves({"MC U-net": history, "Reg-net": history}, ylabel="1 − Dice")
    first = figure.axes[0]
    assert [axis.get_title() for axis in figure.axes] == ["MC U-net", "Reg-net"]
    assert first.get_ylabel() == "1 − Dice"
    ring = first.lines[2]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 0.6)
    with pytest.raises(ValueError, match="Reg-net is empty"):
        figures.learning_curves({"Reg-net": history[:0]})
    with pytest.raises(ValueError, match="no history"):
        figures.learning_curves({})


def table():
    dice = np.array([0.9, 0.8, 0.7, 0.6, 0.3, np.nan])
    return pd.DataFrame({
        "case": [f"sub-{i}" for i in range(6)], "database": ["MS17"] * 3 + ["other"] * 3, "lesion_dice": dice,
        "volume_ml": [9, 8, 7, 6, 3, 5], "predicted_dice_image": [0.8, 0.8, 0.8, 0.8, 0.8, 0.1],
    })


def test_scatter_of_a_score():
    figure = figures.scatter_dice(table(), "volume_ml", tau=0.75, threshold=6.5)
    names = [trace.name for trace in figure.data]
    assert names == ["95 % band", "regression line", "MS17", "other"]
    line = figure.data[1]
    np.testing.assert_allclose(line.y, np.array(line.x) / 10)
    assert list(figure.data[3].text) == ["sub-3", "sub-4"]
    assert 0.75 in {shape.y0 for shape in figure.layout.shapes}
    assert 6.5 in {shape.x0 for shape in figure.layout.shapes}
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
    line = figures._regression(x, y)
    design = np.column_stack([np.ones(12), x])
    beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    at = np.column_stack([np.ones(50), line["x"]])
    half = 2.228139 * np.sqrt(rss[0] / 10 * np.einsum("ij,jk,ik->i", at, np.linalg.inv(design.T @ design), at))
    np.testing.assert_allclose(line["y"], at @ beta)
    np.testing.assert_allclose(line["high"] - line["y"], half, rtol=1e-5)


def test_scatter_of_a_constant_prediction_has_no_line_but_the_perfect_one():
    names = [trace.name for trace in figures.scatter_dice(table(), "predicted_dice_image").data]
    assert names == ["MS17", "other", "perfect prediction"]
    with pytest.raises(ValueError, match="no case has both"):
        figures.scatter_dice(table()[5:], "volume_ml")


def test_risk_coverage_curves():
    figure = figures.risk_coverage(table(), {"volume_ml": "volume", "predicted_dice_image": "predicted"})
    curves = {trace.name: trace for trace in figure.data}
    assert list(curves) == ["volume", "predicted", "oracle", "chance"]
    risk = np.array([0.1, 0.2, 0.3, 0.4, 0.7])
    np.testing.assert_allclose(curves["oracle"].y, np.cumsum(risk) / np.arange(1, 6))
    np.testing.assert_allclose(curves["volume"].y, curves["oracle"].y)
    np.testing.assert_allclose(curves["predicted"].y, risk.mean())  # all tied: no better than chance
    assert "volume 0.208" in figure.layout.meta["alt"]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_architecture_is_drawn_from_the_layers():
    from wmhqc import networks

    model = networks.mc_unet(16)
    words = texts(figures.architecture(model))
    for expected in ("stem", "down 64", "up 8", "head 32", "output", "16³ × 8", "2³ × 64", "16³ × 2"):
        assert expected in words
    blocks, edges = figures._blocks(model)
    assert len(blocks) == 11 and sum(block["dropout"] for block in blocks.values()) == 6
    skips = {("stem", "up8"), ("down16", "up16"), ("down32", "up32")}
    assert skips < set(edges) and ("head16", "head8") in edges and len(edges) == 15
    assert "input 16³ × 2" in blocks["stem"]["layers"]

    blocks, _ = figures._blocks(networks.rec_unet(16))
    assert not any(block["dropout"] for block in blocks.values())
    assert blocks["head8"]["shape"] == "16³ × 3" and "relu" in " ".join(blocks["output"]["layers"])

    blocks, edges = figures._blocks(networks.reg_net(16))
    shapes = [block["shape"] for block in blocks.values()]
    assert shapes == ["8³ × 16", "4³ × 32", "2³ × 64", "1³ × 128", "128", "1"]
    assert edges == list(zip(blocks, list(blocks)[1:], strict=False))
    assert "conv 128" in texts(figures.architecture(networks.reg_net(16)))


def test_words_stay_inside_their_boxes():
    from wmhqc import networks

    figure = figures.architecture(networks.mc_unet(128))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [patch.get_window_extent(renderer) for patch in figure.axes[0].patches]
    for text in figure.axes[0].texts:
        if text.get_text():
            extent = text.get_window_extent(renderer)
            assert any(box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
                       for box in boxes), text.get_text()


@pytest.mark.parametrize("module", ["figures", "preprocess", "augment"])
def test_import_is_light(module):
    heavy = {"tensorflow", "keras", "matplotlib", "SimpleITK", "plotly"}
    code = f"import sys; import wmhqc.{module}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- scans and cohorts ---------------------------------------------------------------------


def test_pictures_show_each_image_with_its_outline_and_voxel_shape():
    image = np.arange(12.0).reshape(4, 3)
    outline = np.zeros((4, 3))
    outline[1:3, 1] = 1
    figure = figures.pictures({"a": {"image": image}, "b": {"image": image, "outline": outline, "voxel": (1, 5)}}, columns=3)
    axes = figure.axes
    assert [axis.get_title() for axis in axes] == ["a", "b", ""] and not axes[2].get_visible()
    assert np.array_equal(axes[0].images[0].get_array(), image.T) and axes[0].images[0].get_clim() == (0, 11)
    assert axes[1].get_aspect() == 5 and len(axes[1].collections) == 1 and not axes[0].collections
    with pytest.raises(ValueError, match="no picture"):
        figures.pictures({})


def test_strips_have_a_point_for_each_case_and_a_bar_at_the_median():
    table = pd.DataFrame({"group": ["a"] * 3 + ["b"], "count": [1, 10, 1000, np.nan]})
    axis = figures.strips(table, {"count": "lesions"}, "group", log=("count",)).axes[0]
    assert axis.get_xscale() == "log" and axis.get_xlabel() == "lesions"
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    points, bar = axis.lines[:2]
    assert sorted(points.get_xdata()) == [1, 10, 1000] and list(bar.get_xdata()) == [10, 10]
    assert len(axis.lines) == 3  # no bar for a group without values


def test_cumulative_curves_end_at_one_and_say_their_quartiles():
    figure = figures.cumulative({"few": [4, 1, np.nan, 2], "none": []}, "Load", "load (%)")
    (curve,) = figure.data
    assert list(curve.x) == [1, 2, 4] and curve.y[-1] == 1 and figure.layout.xaxis.type == "log"
    assert "few: median 2, middle half 1.5 to 3." in figure.layout.meta["alt"]
    with pytest.raises(ValueError, match="no values"):
        figures.cumulative({"none": [np.nan]}, "Load", "load (%)")


def test_by_severity_draws_a_panel_for_each_artefact():
    conditions = [("none", 0.0), ("motion", 0.5), ("motion", 1.0), ("spike", 0.5), ("spike", 1.0)]
    rows = [{"artefact": a, "severity": s, "dice": 0.8 - s / 2 + i / 10, "score": 0.5} for a, s in conditions for i in (0, 1)]
    figure = figures.by_severity(pd.DataFrame(rows), {"dice": "true Dice", "score": "expected"})
    assert [axis.get_title() for axis in figure.axes] == ["motion", "spike"]
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, [0.85, 0.6, 0.35])
    with pytest.raises(ValueError, match="at least one artefact"):
        figures.by_severity(pd.DataFrame(rows[:2]), {"dice": "Dice"})
