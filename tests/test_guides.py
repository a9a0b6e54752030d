"""The pages without code: what they name in other chapters and in the package exists."""

import importlib
import re
from pathlib import Path

import pytest

from wmhqc import catalogue, thresholds

BOOK = Path(__file__).resolve().parents[1] / "book"
GUIDES = ("faq", "teachers", "cite", "literature")


def read(page):
    return (BOOK / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", GUIDES)
def test_sections_that_are_named_exist(page):
    for chapter, titles in re.findall(r'\{doc\}`(\w+)`,((?:\s+"[^"]+",?)+)', read(page)):
        headings = re.findall(r"^##+ (.+)$", read(chapter), re.M)
        for title in re.findall(r'"([^"]+)"', titles):
            assert title in headings, (chapter, title)


@pytest.mark.parametrize("page", GUIDES)
def test_functions_that_are_named_exist(page):
    for module, name in re.findall(r"`(thresholds|failure|scores|literature)\.(\w+)`", read(page)):
        assert hasattr(importlib.import_module(f"wmhqc.{module}"), name), name
    for name in re.findall(
        r"`(\w*(?:pairwise_dice|entropy|uncertainty|expected_dice))`", re.sub(r"\{\w+\}`[^`]*`", "", read(page))
    ):
        assert name in catalogue.scores(), name


def test_options_that_are_named_are_those_of_the_command(capsys):
    from wmhqc.screen import cli

    with pytest.raises(SystemExit):
        cli.main(["qc", "--help"])
    known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) | {"--version"}
    for page in GUIDES:
        assert set(re.findall(r"`(?:wmhqc )?(--[a-z][\w-]*)", read(page))) <= known, page


def test_the_numbers_of_cases_are_right():
    assert thresholds.cases_needed(0.1) == 22 and thresholds.cases_needed(0.05) == 45
    assert "22 accepted" in read("faq") and "at most 5 %, 45" in read("faq")


def test_ninety_minutes_are_ninety():
    minutes = re.findall(r"^\| (\d+)–(\d+) \|", read("teachers"), re.M)
    assert minutes[0][0] == "0" and minutes[-1][1] == "90"
    assert [end for _, end in minutes[:-1]] == [start for start, _ in minutes[1:]]


@pytest.mark.parametrize("page", GUIDES)
def test_terms_are_in_the_glossary(page):
    known = {line.lower() for line in read("glossary").splitlines() if line and not line.startswith((" ", "#", "`"))}
    for term in re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", read(page)):
        assert term.lower() in known, term
