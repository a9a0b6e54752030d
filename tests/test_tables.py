"""The table explorer: what is carried to the page."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from wmhqc import view

FRAME = pd.DataFrame(
    {
        "name": ["b", "a", "c"],
        "year": [2019, 2020, 2018],
        "r": [0.5, np.nan, 1.0],
        "kind": ["map; score", "map", ""],
        "url": ["https://example.org/b", "", "https://example.org/c"],
    }
)


def test_the_page_carries_the_cells_as_they_are():
    data = view.table(FRAME, {"name": "Study", "year": "Year", "r": "r"}, ["kind"], link="url", noun="studies").data
    assert [(c["name"], c["label"], c["shown"], c["number"]) for c in data["columns"]] == [
        ("name", "Study", True, False),
        ("year", "Year", True, True),
        ("r", "r", True, True),
        ("kind", "kind", False, False),
    ]
    assert data["rows"] == [["b", 2019, 0.5, "map; score"], ["a", 2020, None, "map"], ["c", 2018, 1, None]]
    assert data["links"] == ["https://example.org/b", None, "https://example.org/c"]
    assert data["filters"] == ["kind"] and data["caption"] == data["noun"] == "studies"


def test_columns_may_be_a_list_and_yes_and_no_are_words():
    data = view.table(FRAME.assign(good=FRAME["year"] > 2018), ["name", "good"]).data
    assert data["columns"][1] == {"name": "good", "label": "good", "shown": True, "folded": False, "number": False}
    assert [row[1] for row in data["rows"]] == ["True", "True", "False"]


def test_columns_that_are_not_brief_are_folded():
    data = view.table(FRAME, ["name", "year"], ["kind"], brief=["name"], page=2).data
    assert [column["folded"] for column in data["columns"]] == [False, True, False] and data["page"] == 2


def test_the_state_is_json_and_no_cell_can_end_the_script():
    page = view.table(FRAME.assign(name=["</script>", "<!--", "c"]), ["name"]).to_html()
    state = json.loads(re.search(r"^const state = (.*);$", page, re.M).group(1))
    assert state["sort"] == "" and state["descending"] is False and state["chosen"] == {}
    assert page.count("</script>") == 1 and "<!--" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["name", "nothing"]}, "no column 'nothing'; it has name, year"),
        ({"filters": ["nothing"]}, "no column 'nothing'"),
        ({"link": "nothing"}, "no column 'nothing'"),
        ({"link": "name"}, "begin with https://, got 'b'"),
        ({"brief": ["year"]}, "brief names year, which columns does not"),
        ({"columns": []}, "at least one column and one row, got 0 and 3"),
        ({"frame": FRAME.iloc[:0]}, "got 1 and 0"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        view.table(**{"frame": FRAME, "columns": ["name"], **change})
