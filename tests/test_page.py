import re
import sys

import numpy as np
import pandas as pd

from wmhqc.book import page


def test_glue_hands_plain_numbers_to_the_page(monkeypatch):
    stored = {}
    import myst_nb

    monkeypatch.setattr(myst_nb, "glue", lambda name, value, display: stored.update({name: value}))
    page.glue(number=np.float64(0.5), text="0.5 (0.4\u00a0to\u00a00.6)")
    assert stored == {"number": 0.5, "text": "0.5 (0.4 to 0.6)"} and type(stored["number"]) is float


def test_without_myst_nb_there_is_no_page_and_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    assert page.glue(number=1) is None


def test_an_interval_in_words():
    nan = float("nan")
    assert page.interval(0.851, 0.766, np.float64(0.92)) == "0.85 (0.77\u00a0to\u00a00.92)"
    assert page.interval(0.0512, -0.01, 0.1, "+.3f") == "+0.051 (-0.010\u00a0to\u00a0+0.100)"
    assert page.interval(-0.001, -0.002, 0.1) == "0.00 (0.00\u00a0to\u00a00.10)", "no minus before a zero"
    assert page.interval(0.5, nan, nan) == "0.50" and page.interval(nan, 0, 1) == "not defined"


def test_each_source_is_named_once_below_a_picture():
    table = pd.DataFrame(
        {"case": list("abcd"), "licence": ["CC BY", "CC BY", "", ""], "synthetic": [False, False, True, True]}
    )
    assert page.credits(table, ["a", "b", "d"]) == "a, b: CC BY · d: synthetic"


def test_a_table_has_words_and_no_index():
    frame = pd.DataFrame({"Dice": [0.5, np.nan], "sum (mm³)": [12345.6, 1.0]}, index=["a", "b"])
    html = page.tabulate(frame, "case", formats={"sum (mm³)": "{:,.0f}"}).to_html()
    assert re.findall(r">([^<>\n]+)</t[hd]>", html) == ["case", "Dice", "sum (mm³)", "a", "0.50", "12,346", "b", "1"]
    assert 'class="dataframe"' in html, "what the theme's dark side knows"
