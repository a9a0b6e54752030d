"""What a figure needs to be read on a phone and in the dark: its words, its ground, a second layout."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from functools import wraps
from io import BytesIO

#: CSS pixels: the text column of a phone (of 400) and of a desk, and the least size of words in a figure shown in it.
PHONE, DESK, LEAST = 368, 700, 10.5


def on_black(draw: Callable) -> Callable:
    """`draw` on a black ground, with white words."""

    @wraps(draw)
    def dark(*given, **named):
        import matplotlib.pyplot as plt

        with plt.style.context("dark_background"):
            return draw(*given, **named)

    return dark


def closed(figure, shown: int = PHONE):
    """Finish a figure: words can be read when it is `shown` px wide, and pyplot does not show it a second time."""
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    least = LEAST * 72 * figure.get_figwidth() / shown  # in points
    for axis in figure.axes:
        axis.tick_params(which="both", labelsize=least)  # also the ticks that are made later
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), least))
    plt.close(figure)
    return figure


def either(draw: Callable, alt: str, classes: str = ""):
    """A figure that is wide on a desk and tall on a phone.

    Parameters
    ----------
    draw : callable
        `draw(tall=False)` and `draw(tall=True)` return a matplotlib figure.
    alt : str
        What is to be seen, for those who do not see it.
    classes : str
        Of the picture; "chart" if the dark theme may turn its white ground dark, which no scan may be.

    Returns
    -------
    IPython.display.HTML
    """
    from IPython.display import HTML

    wide, tall = (_address(draw(tall=each)) for each in (False, True))
    return HTML(
        f'<picture><source media="(max-width: 600px)" srcset="{tall}">'
        f'<img class="{html.escape(classes)}" alt="{html.escape(alt)}" src="{wide}"></picture>'
    )


def _address(figure) -> str:
    """The figure as a PNG within an address."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
