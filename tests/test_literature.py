"""The reviewed studies and the counts of the search."""

import re
from pathlib import Path

import pandas as pd
import pytest

from wmhqc.book import literature

BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "book" / "references.bib"
RANGES = {"year": (2012, 2020), "reference": (1, 46), "sample": (1, None), "r": (-1, 1), "mae": (0, 1)}


@pytest.fixture(scope="module")
def studies():
    return literature.studies()


def test_29_studies_in_the_order_of_the_supplement(studies):
    assert len(studies) == literature.PRINTED["included"] == 29
    assert studies["study"].is_unique and studies["url"].is_unique
    assert studies["key"].iloc[[0, -1]].tolist() == ["brusini2020", "zhou2019"]
    # Five studies are not among the paper's 46 references, no reference stands for two studies.
    assert studies["reference"].isna().sum() == 5 and studies["reference"].dropna().is_unique


def test_numbers_as_the_supplement_prints_them(studies):
    by_key = studies.set_index("key")
    assert by_key["r"].dropna().to_dict() == {
        "audelan2020": 0.69,
        "liu2019": 0.68,
        "xia2020": 0.61,
        "wangs2020": 0.96,
        "zhangr2019": 0.85,
        "zhangz2020": 0.9873,
    }
    assert by_key["mae"].dropna().to_dict() == {
        "liu2019": 0.06,
        "xia2020": 0.18,
        "wangs2020": 0.07,
        "zhangz2020": 0.0032,
        "zhou2019": 0.12,
    }
    assert by_key["sample"].isna().sum() == 1 and by_key.loc["robinson2019", "sample"] == 4800 + 7250


def test_the_reader_sees_how_quality_was_judged_and_on_whom(studies):
    assert {"pathology", "qc_method", "target", "modality", "reported"} <= set(literature.SHOWN) <= set(studies)
    assert set(literature.CATEGORIES) <= set(literature.SHOWN)
    assert (studies[["qc_method", "pathology"]] != "").all(axis=None)


def test_every_study_has_its_reference(studies):
    keys = re.findall(r"^@\w+\{([^,]+),", BIBLIOGRAPHY.read_text(encoding="utf-8"), re.M)
    assert len(keys) == len(set(keys)) and set(studies["key"]) <= set(keys)


def test_counts_by_category_and_who_was_judged(studies):
    assert literature.count(studies, "approach")["map"] == 22
    assert literature.count(studies, "modality").sum() == 29 + studies["modality"].str.contains(";").sum()
    assert literature.count(studies, "kind")["nothing"] == 1
    assert literature.count(studies, "pathology")[["multiple sclerosis", "healthy", "cancer"]].tolist() == [1, 9, 7]
    assert literature.judged(studies).sum() == 10
    two = pd.DataFrame({"kind": ["correlation; error", "words"]})
    assert literature.judged(two).tolist() == [True, False]
    assert literature.count(two, "kind")[["correlation", "error", "words", "nothing"]].tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match="one of target"):
        literature.count(studies, "year")


def test_the_flow_adds_up_to_29_and_not_to_643():
    flow = literature.prisma()
    assert flow["studies"].tolist() == [635, 629, 35, 21, 14, 29]
    assert flow["left_out"].tolist() == [0, 6, 594, 14, 7, 0]
    sums = literature.identified()
    assert (sums["all"], sums["all, without duplicates"]) == (650, 644)
    assert literature.PRINTED["identified"] not in sums.values()


def test_three_sums_come_to_643():
    ways = literature.sums_to(literature.PRINTED["identified"]).set_index("sum")
    assert ways["forgotten"].to_dict() == {
        "635 + 3 + 1 + 4": "reference lists",
        "635 + 7 + 1": "Google Scholar, papers that cite that one",
        "629 + 3 + 7 + 4": "Google Scholar, on error maps",
    }
    assert all(sum(map(int, text.split(" + "))) == 643 for text in ways.index)
    assert literature.sums_to(650)["forgotten"].tolist() == [""] and literature.sums_to(1).empty


def test_every_number_of_the_flow_is_drawn():
    figure = literature.draw_prisma()
    text = " ".join(artist.get_text() for artist in figure.axes[0].texts)
    flow = literature.prisma()
    for number in [*flow["studies"], *flow["left_out"].replace(0, 29), *literature.ELSEWHERE.values()]:
        assert re.search(rf"\b{number}\b", text), number


def test_bars_are_as_long_as_the_counts(studies):
    axes = literature.draw_counts(studies, "kind", literature.JUDGED).axes[0]
    drawn = {label.get_text(): bar for label, bar in zip(axes.get_yticklabels(), axes.patches)}
    assert {name: bar.get_width() for name, bar in drawn.items()} == literature.count(studies, "kind").to_dict()
    assert {name for name, bar in drawn.items() if bar.get_hatch()} == set(literature.JUDGED)


def check(table):
    """What is wrong with a table of studies, one sentence a problem; empty if nothing is.

    Looks for keys that stand twice, unknown categories, numbers out of range, decimal
    commas, addresses that are none, and kinds that do not go with the numbers.
    """
    problems = [f"{key}: stands in more than one row" for key in table.loc[table["key"].duplicated(), "key"]]
    for row in table.to_dict("records"):
        found = []
        for name, allowed in literature.CATEGORIES.items():
            unknown = [value for value in row[name].split(literature.SEPARATOR) if value not in allowed]
            found += [f"{name} {value!r} is none of {', '.join(allowed)}" for value in unknown]
        for name, (low, high) in RANGES.items():
            if row[name] < low or (high is not None and row[name] > high):
                found.append(
                    f"{name} {row[name]:g} is not between {low} and {high if high is not None else 'infinity'}"
                )
        for name in ("segmentation_quality", "reported", "note"):
            if re.search(r"\d,\d{1,2}(?!\d)", row[name]):
                found.append(f"{name} has a decimal comma: {row[name]!r}")
        for name, kind in (("r", "correlation"), ("mae", "error")):
            if pd.notna(row[name]) != (kind in row["kind"].split(literature.SEPARATOR)):
                found.append(f"{name} and the kind {row['kind']!r} do not go together")
        if not row["url"].startswith("https://"):
            found.append(f"url must begin with https://, got {row['url']!r}")
        problems += [f"{row['key']}: {problem}" for problem in found]
    return problems


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("key", "robinson2019", "more than one row"),
        ("family", "Monte Carlo dropout; magic", "family 'magic' is none of Monte Carlo dropout"),
        ("year", 1912, "year 1912 is not between 2012 and 2020"),
        ("sample", 0, "between 1 and infinity"),
        ("reported", "ROC 0,8", "decimal comma"),
        ("kind", "correlation", "r and the kind 'correlation' do not go together"),
        ("mae", 0.1, "mae and the kind"),
        ("url", "www.example.org", "must begin with https://"),
    ],
)
def test_what_is_wrong_is_said(studies, column, value, message):
    broken = studies.copy()
    broken.loc[0, column] = value
    problems = check(broken)
    assert len(problems) == 1 and re.search(message, problems[0]), problems
    assert check(studies) == []


def test_thousands_are_no_decimal_commas(studies):
    assert "4,800" in studies.set_index("key").loc["robinson2019", "note"]
