"""Calibration cases: what a table must hold, and who is left out."""

import math

import pytest
from scans import cases

from wmhqc import reference
from wmhqc.files import sha256
from wmhqc.screen import calibration
from wmhqc.screen.labels import SCORE


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Write labelled cases as `wmhqc qc` does, with columns changed; returns the path."""
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(reference, "folder", lambda: tmp_path)
    known = {"judged": "own", "program": "", "reference": sha256(tmp_path / "manifest.json")}

    def write(rows=60, drop=(), **changes):
        table = cases().assign(
            **known, patient=[f"p{i}" for i in range(60)], flair_sha256=[f"{i:x}" for i in range(60)]
        )[:rows]
        path = tmp_path / "group.tsv"
        table.assign(**changes).drop(columns=list(drop)).to_csv(path, sep="\t", index=False, na_rep="n/a")
        return path

    return write


def test_a_table_of_ones_own_is_read(save):
    table = calibration.read_calibration(save())
    assert len(table) == 60 and table[SCORE].dtype == table["brain_ml"].dtype == float
    one_patient = calibration.read_calibration(save(patient=["01", "01", *"abcdefgh"] + [math.nan] * 50))
    assert len(one_patient) == 59, "one scan a patient"
    assert calibration.read_calibration(save(program="'=LST"))["program"].unique() == ["=LST"]
    doubted = calibration.read_calibration(save(true_contrast=[0.6, math.nan, *[0.95] * 58]))
    assert len(doubted) == 59 and "c1" in set(doubted["case"]) and doubted.attrs["origin"].endswith(": c0.")
    some = calibration.read_calibration(save(lesion_dice=[0.5, *[math.nan] * 59]))
    assert some["case"].tolist() == ["c0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lesion_dice": cases()["lesion_dice"] * 100}, r"line 2: lesion_dice is '.*'; expected a number from 0 to 1 "),
        ({"lesion_dice": True}, "line 2: lesion_dice is 'True'"),
        ({SCORE: [0.5] * 58 + ["0,5", 0.5]}, "line 60: .* is '0,5'"),
        ({"brain_ml": "inf"}, "line 2: brain_ml is 'inf'"),
        ({"case": ["", *cases()["case"][1:]]}, "line 2: case nan has no name"),
        ({"case": ["a", "b", "a", *cases()["case"][3:]]}, "line 4: case a is there more than once"),
        ({"judged": "mine"}, "neither judged 'own' nor 'given'"),
        ({"reference": "ab"}, "by other reference networks"),
        ({"lesion_dice": math.nan}, "no case has a true Dice"),
        ({"true_contrast": 0.5}, "no manual mask is brighter than its surroundings"),
        ({"flair_sha256": ["a", "b", "a", *map(str, range(57))]}, "line 4: case c2 is the same scan as one before"),
        (cases()[:1].drop(columns=["case", SCORE, "lesion_dice"]).iloc[0].to_dict(), "is the same scan as one before"),
        ({"brain_ml": 1.4}, "line 2: brain_ml is '1.4'; expected a number from 50"),
        ({"mean_entropy": 40}, "line 2: mean_entropy is '40'; expected a number from 0 to 1"),
        ({"drop": ["reference"]}, "no column reference; expected the group.tsv"),
        ({"drop": ["lesion_dice"]}, "no column lesion_dice"),
    ],
)
def test_a_table_is_refused_at_the_row_that_is_wrong(save, changes, message):
    with pytest.raises(ValueError, match=message):
        calibration.read_calibration(save(**changes))


@pytest.mark.parametrize("content", [b"", b"\n", b"\x80\x81", b"a\tb\n1\t2\t3\t4\n", b"\t".join([b"c"] * 100_000)])
def test_what_is_no_table_is_refused_at_once(tmp_path, content):
    path = tmp_path / "group.tsv"
    with pytest.raises(FileNotFoundError, match="expected the group.tsv"):
        calibration.read_calibration(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"group.tsv.* expected the group.tsv that"):
        calibration.read_calibration(path)


def test_a_scan_is_not_calibrated_on_itself(scan):
    table = cases().assign(flair_sha256="x", patient=[str(i) for i in range(60)])
    table.loc[3, "flair_sha256"] = sha256(scan["flair"])
    assert calibration.exclude_patient(table, scan)["case"].tolist() == [f"c{i}" for i in range(60) if i != 3]
    assert len(calibration.exclude_patient(table, scan | {"patient": "7"})) == 58


def test_a_byte_order_mark_is_read_over_and_a_column_that_is_there_twice_refused(save):
    path = save()
    text = path.read_text()
    path.write_text(text, encoding="utf-8-sig")
    assert len(calibration.read_calibration(path)) == 60
    path.write_text(text.replace("lesion_dice", "lesion_dice\tlesion_dice", 1).replace("\n", "\t0\n"))
    with pytest.raises(ValueError, match="has a column twice .lesion_dice"):
        calibration.read_calibration(path)
