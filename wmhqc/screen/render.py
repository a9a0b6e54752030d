"""HTML pages from templates, and numbers for readers.

Whatever comes from outside, names of files above all, is escaped by the templates; a content
security policy in each page forbids it to load anything.
"""

from __future__ import annotations

import math
from pathlib import PurePath

from wmhqc import __version__


def render(template: str, **values) -> str:
    """Fill a template; everything is escaped but what this file marks as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("wmhqc.screen", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Without its folders, whose names may say more than a report should when it is passed on.
    environment.globals |= {"file_name": lambda path: PurePath(path).name, "version": __version__}
    environment.globals |= {write.__name__: write for write in (number, dice, percent, at_most, chance)}
    if "explorer" in values:
        values["explorer"] = Markup(values["explorer"])
    return environment.get_template(template).render(values)


def number(value) -> str:
    """A number for a reader: three significant digits, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def dice(value) -> str:
    """A Dice for a reader: two decimals, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}".replace("-", "−")


def at_most(share: float) -> str:
    """A share as whole percentage, rounded up: what is at most so much is still."""
    return f"{math.ceil(round(100 * share, 6))} %"


def chance(share) -> str:
    """A chance as whole percentage, never certain; a dash where there is none."""
    if share is None or not math.isfinite(share):
        return "–"
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def percent(share: float) -> str:
    """A share as percentage."""
    return f"{100 * share:g} %"
