"""Figures show what they were given: slices, limits, lines, boxes and their words."""

import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from wmhqc.book import figures, phone

N = 16


def case(slice_=9, height=1.0):
    rng = np.random.default_rng(0)
    lesion = np.zeros((N, N, N), np.uint8)
    lesion[4:9, 5:8, slice_] = 1
    flair = 255 * rng.random((N, N, N)).astype(np.float32)
    return {
        "t1": flair,
        "flair": flair,
        "lesion": lesion,
        "prediction": 0.8 * lesion,
        "uncertainty": 0.5 * lesion,
        "blanked": flair * (1 - lesion),
        "reconstruction": flair,
        "error": height * lesion.astype(np.float32),
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


def test_brains_stand_on_black_charts_on_white_and_none_is_left_open():
    import matplotlib.pyplot as plt

    for figure in (figures.case_maps({"a": case()}), figures.pictures({"a": {"image": np.eye(4)}})):
        assert figure.get_facecolor() == (0, 0, 0, 1)
        assert {text.get_color() for axis in figure.axes for text in (axis.title, axis.yaxis.label)} == {"white"}
    table = pd.DataFrame({"predicted": [0.2], "true": [0.3], "kind": ["a"]})
    assert figures.predicted(table, 0.5).get_facecolor() == (1, 1, 1, 1)
    assert plt.get_fignums() == []


def least(figure, shown=phone.PHONE):
    """The smallest words of a figure in px, when it is `shown` px wide."""
    from matplotlib.text import Text

    FigureCanvasAgg(figure).draw()
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    return min(sizes) / 72 / figure.get_figwidth() * shown


def test_words_can_be_read_on_a_phone_and_do_not_leave_the_figure():
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.5], "val_loss": [0.9, 0.6]})
    three = {f"sub-ms17p0{i}\n17.2 ml": case() for i in range(3)}
    drawn = [
        figures.case_maps(three, tall=True),
        figures.case_maps({"a": {name: case()[name] for name in ("t1", "flair", "prediction", "uncertainty")}}),
        figures.pictures({name: {"image": np.eye(4)} for name in ("Dice 0.14, 1.6 ml", "manual lesions", "zipper")}),
        figures.strips(
            pd.DataFrame({"group": ["synthetic, thick slices"] * 9, "x": range(1, 10)}), {"x": "x"}, "group", ("x",)
        ),
        figures.learning_curves({"a": history, "b": history}),
        figures.predicted(pd.DataFrame({"predicted": [0.2], "true": [0.3], "kind": ["a"]}), 0.5),
    ]
    assert [least(figure) for figure in drawn if least(figure) < 0.98 * phone.LEAST] == []
    for figure in drawn:
        box = figure.get_tightbbox()
        assert box.width <= 1.03 * figure.get_figwidth(), [axis.get_title() for axis in figure.axes]
    assert least(figures.case_maps(three), phone.DESK) >= 0.98 * phone.LEAST


def test_a_tall_figure_of_cases_has_a_column_for_each():
    wide, tall = (figures.case_maps({"a": case(), "b": case(3)}, tall) for tall in (False, True))
    assert wide.get_figwidth() > wide.get_figheight() and tall.get_figwidth() < tall.get_figheight()
    assert [axis.get_title() for axis in tall.axes if axis.get_title()] == ["a", "b"]
    assert {axis.get_ylabel() for axis in tall.axes} >= set(figures.MAPS.values())


def test_a_page_carries_both_layouts_of_a_figure():
    asked = []

    def draw(tall):
        asked.append(tall)
        return figures.pictures({"a": {"image": np.eye(4)}}, columns=1 if tall else 2)

    shown = phone.either(draw, 'two "views"', "chart").data
    assert asked == [False, True] and shown.count("data:image/png;base64,") == 2
    assert 'alt="two &quot;views&quot;"' in shown and 'class="chart"' in shown and "max-width: 600px" in shown


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
    figure = figures.learning_curves({"MC U-net": history, "Reg-net": history})
    first = figure.axes[0]
    assert [axis.get_title() for axis in figure.axes] == ["MC U-net", "Reg-net"]
    assert first.get_ylabel() == "loss"
    ring = first.lines[2]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 0.6)
    with pytest.raises(ValueError, match="Reg-net is empty"):
        figures.learning_curves({"Reg-net": history[:0]})
    with pytest.raises(ValueError, match="no history"):
        figures.learning_curves({})


@pytest.mark.parametrize("module", ["book.figures", "book.charts", "preprocess", "augment"])
def test_import_is_light(module):
    heavy = {"tensorflow", "keras", "matplotlib", "SimpleITK", "plotly"}
    code = f"import sys; import wmhqc.{module}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_pictures_show_each_image_with_its_outline_and_voxel_shape():
    image = np.arange(12.0).reshape(4, 3)
    outline = np.zeros((4, 3))
    outline[1:3, 1] = 1
    figure = figures.pictures(
        {"a": {"image": image}, "b": {"image": image, "outline": outline, "voxel": (1, 5)}}, columns=3
    )
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


def test_by_severity_draws_a_panel_for_each_artefact():
    conditions = [("none", 0.0), ("motion", 0.5), ("motion", 1.0), ("spike", 0.5), ("spike", 1.0)]
    rows = [
        {"artefact": a, "severity": s, "dice": 0.8 - s / 2 + i / 10, "score": 0.5}
        for a, s in conditions
        for i in (0, 1)
    ]
    figure = figures.by_severity(pd.DataFrame(rows), {"dice": "true Dice", "score": "expected"})
    assert [axis.get_title() for axis in figure.axes] == ["motion", "spike"]
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, [0.85, 0.6, 0.35])
    with pytest.raises(ValueError, match="at least one artefact"):
        figures.by_severity(pd.DataFrame(rows[:2]), {"dice": "Dice"})


def test_predicted_draws_each_kind_of_case_against_the_true_dice():
    table = pd.DataFrame({"predicted": [0.2, 0.6, 0.7], "true": [0.3, 0.5, 0.8], "kind": ["a", "b", "b"]})
    lines = {line.get_label(): line for line in figures.predicted(table, 0.5).axes[0].lines}
    assert list(lines["b"].get_xdata()) == [0.6, 0.7] and list(lines["b"].get_ydata()) == [0.5, 0.8]
    assert list(lines["failed below 0.5"].get_ydata()) == [0.5, 0.5]
