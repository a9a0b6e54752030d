"""The drawing of a network: its blocks, its skips, and words that fit."""

import matplotlib

matplotlib.use("Agg")

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from wmhqc.book import architecture, phone


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_architecture_is_drawn_from_the_layers():
    from wmhqc import networks

    model = networks.mc_unet(16)
    words = texts(architecture.draw(model))
    for expected in ("stem", "down 64", "up 8", "head 32", "output", "16³ × 8", "2³ × 64", "16³ × 2"):
        assert expected in words
    blocks, edges = architecture._blocks(model)
    assert len(blocks) == 11 and sum(block["dropout"] for block in blocks.values()) == 6
    skips = {("stem", "up8"), ("down16", "up16"), ("down32", "up32")}
    assert skips < set(edges) and ("head16", "head8") in edges and len(edges) == 15
    assert "input 16³ × 2" in blocks["stem"]["layers"]

    blocks, _ = architecture._blocks(networks.rec_unet(16))
    assert not any(block["dropout"] for block in blocks.values())
    assert blocks["head8"]["shape"] == "16³ × 3" and "relu" in " ".join(blocks["output"]["layers"])

    blocks, edges = architecture._blocks(networks.reg_net(16))
    shapes = [block["shape"] for block in blocks.values()]
    assert shapes == ["8³ × 16", "4³ × 32", "2³ × 64", "1³ × 128", "128", "1"]
    assert edges == list(zip(blocks, list(blocks)[1:], strict=False))
    assert "conv 128" in texts(architecture.draw(networks.reg_net(16)))


@pytest.mark.parametrize("tall", [False, True])
def test_words_stay_inside_their_boxes_and_can_be_read(tall):
    from wmhqc import networks

    figure = architecture.draw(networks.mc_unet(128), tall)
    shown = phone.PHONE if tall else phone.DESK
    sizes = [text.get_fontsize() for text in figure.axes[0].texts if text.get_text()]
    assert min(sizes) / 72 / figure.get_figwidth() * shown >= 0.98 * phone.LEAST
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [patch.get_window_extent(renderer) for patch in figure.axes[0].patches]
    for text in figure.axes[0].texts:
        if text.get_text():
            extent = text.get_window_extent(renderer)
            assert any(
                box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
                for box in boxes
            ), text.get_text()
