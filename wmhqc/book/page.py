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
        if isinstance(value, str):
            value = value.replace("\u00a0", " ")  # the page prints a text's repr, which spells that space out
        store(name, value.item() if hasattr(value, "item") else value, display=False)


def interval(estimate: float, low: float, high: float, form: str = ".2f") -> str:
    """A number with its interval, as in "0.85 (0.77 to 0.92)".

    No line breaks inside the brackets. Without them where the ends are not defined;
    "not defined" where the number is not; what rounds to zero has no minus.
    """
    if estimate != estimate:
        return "not defined"
    form = f"+z{form[1:]}" if form.startswith("+") else f"z{form}"
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


def tabulate(frame, first: str | None = None, precision: int = 2, formats: dict | None = None):
    """A table for the page: no index, nothing where nothing is known.

    Parameters
    ----------
    frame : DataFrame
        At most five columns, with words and units for names.
    first : str, optional
        Heading of the index, which becomes the first column.
    precision : int
        Decimals of numbers.
    formats : dict of str to str, optional
        Another format by column, as in "{:,.0f}".

    Returns
    -------
    pandas.io.formats.style.Styler
    """
    if first is not None:
        frame = frame.rename_axis(first).reset_index()
    styled = frame.style.format(formats, precision=precision, na_rep="").hide()
    return styled.set_table_attributes('class="dataframe"')
