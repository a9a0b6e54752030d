"""Records: read whatever lies there."""

import json
import math
import os

import numpy as np
import pytest

from wmhqc.screen import records
from wmhqc.sources.bids import made_by_us


def test_records_are_json():
    record = records.to_json(
        {"a": np.float32(0.5), "b": math.nan, "c": [np.int64(2), math.inf], "d": np.bool_(True), "e": None}
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        "a": 0.5,
        "b": None,
        "c": [2, None],
        "d": True,
        "e": None,
    }


def record(**changes):
    """What a scan leaves, as short as it can be."""
    flair = {"path": "f.nii.gz", "sha256": "ab"}
    made = {name: "" for name in ("patient", "judged", "program", "key", "calibration", "created", "reference")}
    made |= {"case": "sub-a", "verdict": "review", "reasons": ["why"], "inputs": {"flair": flair}, "bytes": {}}
    made |= {"scores": {"volume_ml": 1.5}, "truth": {}, "features": {}, "ranges": {"volume_ml": [1, 2]}}
    made["predicted_dice"] = {"value": 0.5, "low": None, "high": None, "valid": False}
    made["guarantee"] = {"threshold": None, "possible": False, "applies": False}
    made["guarantee"] |= {"asked": 0.1, "risk": None, "level": 0.9, "failure": "a lesion Dice below 0.5"}
    made["failure"] = {"chance": 0.5, "low": 0.1, "high": None}
    made["findings"] = [{"kind": "mask", "short": "why", "detail": ""}]
    made["ood"] = {"in_distribution": False, "score": None, "limit": None, "outside": []}
    return made | changes


def test_a_record_is_read(tmp_path):
    path = tmp_path / "sub-a_qc.json"
    for found in (record(), {"case": "sub-a", "verdict": "not judged", "reasons": []}):
        path.write_text(json.dumps(found))
        assert records.read_record(path) == found
    assert records.read_record(tmp_path / "none.json") is None


DEEP = "[" * 100_000 + "]" * 100_000
BROKEN = ["", "{", "[]", "null", "{}", "3", DEEP, '{"case": ' * 50_000, '{"case": [], "verdict": "", "reasons": []}']
BROKEN += ['{"case": "../x", "verdict": "", "reasons": []}', '{"case": "a", "verdict": "", "reasons": [1]}']
BROKEN += [
    json.dumps(record(**{name: value}))
    for name in record()
    for value in (None, [3], "x", 1e400)
    if value != "x" or not isinstance(record()[name], str)
]
BROKEN += [json.dumps(record(scores={"a\tb": 1})), json.dumps(record(scores={"a": int("9" * 400)}))]
BROKEN += [
    json.dumps(record(bytes={"../../x": 1})),
    json.dumps(record(ood=record()["ood"] | {"outside": [{"name": "x"}]})),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_is_no_record_counts_as_none(tmp_path, number):
    path = tmp_path / "sub-a_qc.json"
    path.write_text(BROKEN[number])
    assert records.read_record(path) is None


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert records.read_record(tmp_path / "pipe") is None and not records.done(tmp_path, {"case": "a", "flair": ""})
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "dataset_description.json")
    assert not made_by_us(out)
