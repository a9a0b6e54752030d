"""The explorer that builds an uncertainty map, on a static page in a real browser."""

import numpy as np
import pytest
from test_dropout import answers, prepared
from test_explorers import write

from browser import accessibility, check_page
from wmhqc import uncertainty, view
from wmhqc.view import dropout

CASE = prepared()
PASSES = {rate: answers(CASE, rate, 6) for rate in (0.05, 0.2, 0.5)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    cases = {
        name: {"case": CASE, "title": title, "passes": PASSES} for name, title in (("a", "first"), ("b", "second"))
    }
    return write(tmp_path_factory.mktemp("passes") / "page.html", view.passes(cases, start=4, slices=5))


def opened(page, file):
    page.goto(file)
    page.wait_for_selector(".wmhqc[data-entropy]")
    return page.locator(".wmhqc")


def numbers(root):
    return {name: float(root.get_attribute(f"data-{name}")) for name in ("mean", "entropy", "expected")}


def expected(n, rate):
    """What Python says of the voxel that is disputed most at the rate of the training."""
    slices = dropout._chosen_slices((CASE.lesion > 0) | (PASSES[0.2].mean(0) >= 0.5), 5)
    disputed = uncertainty.summarise(PASSES[0.2][:, :, :, slices])
    gap = disputed.entropy - disputed.expected_entropy
    p = PASSES[rate][:, :, :, slices][(slice(None), *np.unravel_index(gap.argmax(), gap.shape))][:n]
    return {"mean": p.mean(), "entropy": uncertainty.entropy(p.mean()), "expected": uncertainty.entropy(p).mean()}


def test_the_numbers_of_a_voxel_are_pythons(watched, file):
    page, problems = watched
    root = opened(page, file)
    assert numbers(root) == pytest.approx(expected(4, 0.2), abs=0.03)  # the page holds 64 levels
    slider = root.get_by_role("slider", name="Passes N")
    slider.press("End")
    assert numbers(root) == pytest.approx(expected(6, 0.2), abs=0.03)
    slider.press("Home")
    assert numbers(root) == pytest.approx(expected(1, 0.2), abs=0.08)  # one answer, so one rounding
    slider.press("End")
    root.get_by_role("slider", name="Dropout rate").press("End")
    assert numbers(root) == pytest.approx(expected(6, 0.5), abs=0.03) and root.get_attribute("data-rate") == "0.5"
    assert not problems


def test_the_curves_are_read_at_the_number_of_passes(page, file):
    root = opened(page, file)
    root.get_by_role("slider", name="Passes N").press("End")
    mc = uncertainty.summarise(PASSES[0.2])
    shown = [float(root.locator("figcaption data").nth(k).get_attribute("value")) for k in range(3)]
    assert shown[1] == pytest.approx(mc.entropy.sum() * CASE.voxel_mm3, rel=1e-4)
    assert shown[2] == pytest.approx(mc.entropy[mc.mask].mean(), rel=1e-4)


def test_the_crosshair_moves_by_keyboard_mouse_and_button(watched, file):
    page, problems = watched
    root = opened(page, file)
    at = root.locator(".summary").inner_text
    first = at()
    canvas = root.get_by_role("application")
    canvas.focus()
    for _ in range(4):
        canvas.press("ArrowUp")
    second = at()
    assert second != first
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    assert "mean 0.00, entropy 0.00 bit" in at()  # a corner, outside the brain
    root.get_by_role("button", name="Most disputed").click()
    assert at() == first
    assert not problems


def test_another_case_and_the_manual_outline(watched, file):
    page, problems = watched
    root = opened(page, file)
    root.get_by_role("combobox", name="Case").select_option("b")
    page.wait_for_function("document.querySelector('.wmhqc').dataset.case === 'second'")
    button = root.get_by_role("button", name="Manual outline")
    drawn = "document.querySelector('.wmhqc canvas').toDataURL()"
    before = page.evaluate(drawn)
    button.click()
    assert button.get_attribute("aria-pressed") == "false" and page.evaluate(drawn) != before
    assert not problems


def test_page_is_accessible_narrow_and_quiet(page, file):
    assert check_page(page, file) == []
    assert accessibility(page, ".wmhqc") == []
