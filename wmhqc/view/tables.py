"""The table explorer: rows that the reader searches, filters and sorts."""

from __future__ import annotations

import pandas as pd
import traitlets
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from wmhqc import failure
from wmhqc.view.widget import Explorer, module


class TableExplorer(Explorer):
    """What `table` returns; `search`, `chosen`, `sort` and `descending` follow the reader's choice."""

    _esm = module("common", "table")
    search = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    sort = traitlets.Unicode().tag(sync=True)
    descending = traitlets.Bool(False).tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def table(
    frame,
    columns: dict[str, str] | list[str],
    filters: list[str] | tuple[str, ...] = (),
    link: str | None = None,
    caption: str = "",
    noun: str = "rows",
    brief: list[str] | tuple[str, ...] = (),
    page: int = 8,
    separator: str = "; ",
    missing: str = "not reported",
) -> TableExplorer:
    """Explore a table: search its text, choose by category, sort by a column.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns of numbers are sorted as numbers, others as text; what is missing stands last.
    columns : dict of str to str, or list of str
        Columns that are shown, and their headings. The first names the row.
    filters : list of str
        Columns, shown or not, of which the reader can choose a value. A cell with several values,
        joined by `separator`, is found under each of them.
    link : str, optional
        Column with the address (https://...) that the name of a row leads to.
    caption : str, optional
        What the table shows; its accessible name.
    noun : str
        What the rows are, in the plural, for the line that counts them.
    brief : list of str
        Columns that stand in a row; the others unfold below it. All by default.
    page : int
        Rows that are shown at a time.
    separator : str
        Between the values of a cell.
    missing : str
        What stands in an empty cell.

    Returns
    -------
    TableExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If a column is missing, `brief` names one that is not shown, the table is empty or an address is not one.
    """
    shown = columns if isinstance(columns, dict) else {name: name for name in columns}
    failure.check_columns(frame, (*shown, *filters, *([link] if link else [])))
    if not shown or not len(frame):
        raise ValueError(f"expected at least one column and one row, got {len(shown)} and {len(frame)}")
    if unknown := [name for name in brief if name not in shown]:
        raise ValueError(f"brief names {', '.join(unknown)}, which columns does not")
    addresses = [_plain(value) for value in frame[link]] if link else []
    for address in addresses:
        if address is not None and not str(address).startswith("https://"):
            raise ValueError(f"column {link!r} must hold addresses that begin with https://, got {address!r}")
    names = [*shown, *(name for name in filters if name not in shown)]
    return TableExplorer(
        data={
            "columns": [
                {
                    "name": name,
                    "label": shown.get(name, name),
                    "shown": name in shown,
                    "folded": bool(brief) and name in shown and name not in brief,
                    "number": _is_number(frame[name]),
                }
                for name in names
            ],
            "rows": [[_plain(value) for value in row] for row in frame[names].itertuples(index=False, name=None)],
            "filters": list(filters),
            "links": addresses,
            "caption": caption or noun,
            "noun": noun,
            "page": page,
            "separator": separator,
            "missing": missing,
        }
    )


def _is_number(column) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _plain(value):
    """A value as JSON has it: None where nothing is, whole numbers without a point."""
    if pd.isna(value) or value == "":
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)
