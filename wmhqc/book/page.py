"""What a chapter needs to be a page: numbers for its prose."""

from __future__ import annotations


def glue(**values) -> None:
    """Hand numbers to the prose of the page, where `{glue:text}` prints them by name.

    On a page the numbers in the text come from the run and from nowhere else.  Where MyST-NB
    is not installed (Colab) there is no page, and nothing is done.
    """
    try:
        from myst_nb import glue as store
    except ImportError:
        return
    for name, value in values.items():
        store(name, value.item() if hasattr(value, "item") else value, display=False)


def interval(estimate: float, low: float, high: float, form: str = ".2f") -> str:
    """A number with its interval, as in "0.85 (0.77 to 0.92)".

    No line breaks inside the brackets. Without them where the ends are not defined;
    "not defined" where the number is not.
    """
    if estimate != estimate:
        return "not defined"
    text = f"{estimate:{form}}"
    return text if low != low or high != high else f"{text} ({low:{form}}\u00a0to\u00a0{high:{form}})"


def credits(table, cases) -> str:
    """Where the cases of a picture are from, each source once: "sub-a, sub-b: CC BY. ... · sub-c: synthetic"."""
    from wmhqc import cohort

    sources = {}
    for row in table[table["case"].isin(list(cases))].to_dict("records"):
        case, source = cohort.credit(row).split(": ", 1)
        sources.setdefault(source, []).append(case)
    return " · ".join(f"{', '.join(names)}: {source}" for source, names in sources.items())
