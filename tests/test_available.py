"""Which real patients are at hand: prepared ones on the disk, and MS17."""

import pytest
from toy import touch

from wmhqc.sources import available, download, layouts


@pytest.fixture
def ms17(tmp_path, monkeypatch):
    """Two patients of MS17, and a function that says why the others are missing."""
    touch(
        tmp_path, *(f"ms17/sub-ms17p{n}/sub-ms17p{n}_{kind}.nii.gz" for n in ("01", "02") for kind in ("T1w", "FLAIR"))
    )
    table = layouts.with_licences(layouts.from_folder(tmp_path / "ms17"))
    answer = {"table": table, "reason": ""}
    monkeypatch.setattr(download, "try_ms17", lambda **_: (answer["table"], answer["reason"]))
    return answer


def test_real_patients(tmp_path, ms17, monkeypatch):
    monkeypatch.setenv("WMHQC_SHARED", str(tmp_path / "none"))
    table, message = available.real_patients(progress=False)
    assert table["database"].tolist() == ["MS17", "MS17"] and "WMHQC_SHARED" in message
    for name in ("sub-ms17p02", "sub-tab01", "sub-else"):
        touch(tmp_path, *(f"some/data/real/{name}/{name}_{kind}.nii.gz" for kind in ("T1w", "FLAIR")))
    monkeypatch.setenv("WMHQC_SHARED", str(tmp_path / "some"))
    table, message = available.real_patients(progress=False)
    table = table.set_index("case")
    assert message == "" and sorted(table.index) == ["sub-else", "sub-ms17p01", "sub-ms17p02", "sub-tab01"]
    assert table.loc["sub-tab01", ["database", "site", "licence"]].tolist() == ["other", "Tabriz", "CC BY 4.0"]
    assert table.loc["sub-ms17p02", "flair"].startswith(str(tmp_path / "some"))
    assert table.loc["sub-else", "licence"] == ""


def test_no_patient_at_all(tmp_path, ms17, monkeypatch):
    monkeypatch.setenv("WMHQC_SHARED", str(tmp_path / "none"))
    ms17.update(table=ms17["table"].iloc[:0], reason="no connection to the server")
    table, message = available.real_patients(progress=False)
    assert table.empty and "licence" in table and "no connection" in message


def test_odd_scans_are_found_beside_the_patients(tmp_path, monkeypatch):
    monkeypatch.setenv("WMHQC_SHARED", str(tmp_path))
    assert available.odd_scans().empty
    (tmp_path / "data" / "real").mkdir(parents=True)
    assert available.odd_scans().empty
    touch(tmp_path, *(f"data/ood/sub-glioma01/sub-glioma01_{kind}.nii.gz" for kind in ("T1w", "FLAIR")))
    head = "data/wholehead/sub-head/sub-head_ses-1"
    touch(tmp_path, *(f"{head}_{kind}.nii.gz" for kind in ("T1w", "FLAIR", "brainmask")))
    table = available.odd_scans().set_index("case")
    assert list(table.index) == ["sub-glioma01", "sub-head_ses-1"]
    assert table["brainmask"].map(bool).tolist() == [False, True]
    assert table["called"].tolist() == ["sub-glioma01 (a tumour)", "sub-head_ses-1"]
    assert "TCGA" in table.loc["sub-glioma01", "citation"] and table.loc["sub-head_ses-1", "licence"] == ""
