"""Hostile input, from a seeded generator: every outcome is a readable image, or an error that names the file.

Nothing hangs, and no more memory is taken than a file of this size deserves.
"""

import gzip
import os
import socket
import time
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from toy import case, scan, touch

from wmhqc import cohort, images
from wmhqc.sources import layouts

SEED = 16
#: Bytes and seconds of the processor that a small file may cost.
MEMORY, SECONDS = 2**27, 5
TOY = scan()
GOOD = nib.Nifti1Image(TOY["FLAIR"], np.diag([4.0, 4, 4, 1])).to_bytes()
FIELDS = [name for name in nib.Nifti1Header() if name not in ("descrip", "aux_file", "intent_name", "db_name")]
EXTREMES = [0, 1, -1, 2, 7, 255, 1024, 32767, -32768, 1e30, -1e30, np.nan, np.inf, -np.inf]


def with_field(rng):
    """A good image with one to three fields of its header changed."""
    header, label = nib.Nifti1Header(GOOD[:348], check=False), []
    for field in rng.choice(FIELDS, rng.integers(1, 4), replace=False):
        value, kind = EXTREMES[rng.integers(len(EXTREMES))], header[field].dtype
        if kind.kind == "S":
            header[field] = [b"", b"ni1", b"xxx"][rng.integers(3)]
        else:
            number = value if kind.kind == "f" else int(np.nan_to_num(value)) % 2 ** (8 * kind.itemsize - 1)
            places = rng.integers(0, 2, header[field].shape).astype(bool)
            header[field] = np.where(places, np.array(number).astype(kind), header[field])
        label.append(f"{field} {value}")
    return ", ".join(label), header.binaryblock + GOOD[348:]


def with_bytes(rng):
    """A packed image with some bytes changed, or cut off somewhere."""
    packed = bytearray(gzip.compress(GOOD, 1))
    if rng.integers(2):
        end = rng.integers(len(packed))
        return f"cut at byte {end}", bytes(packed[:end])
    places = rng.integers(0, len(packed), rng.integers(1, 20))
    for place in places:
        packed[place] = rng.integers(256)
    return f"{len(places)} bytes changed, seed {places[0]}", bytes(packed)


def with_type(code):
    """A header that says this type, before as many voxels as float32 would need."""
    header = nib.Nifti1Header(GOOD[:348])
    header["datatype"], header["bitpix"] = code, nib.nifti1.data_type_codes.dtype[code].itemsize * 8
    return header.binaryblock + GOOD[348:]


def with_shape(shape, content=b""):
    header = nib.Nifti1Header(GOOD[:348])
    header["dim"][0], header["dim"][1 : len(shape) + 1] = len(shape), shape
    return header.binaryblock + bytes(4) + content


TYPES = [code for code in nib.nifti1.data_type_codes.value_set() if code]
SHAPES = [
    (), (5,), (5, 5), (0, 5, 5), (-3, 5, 5), (24, 26, 22, 2), (24, 26, 22, 1, 1), (24, 26, 22, 0), (1, 1, 1),
    (32767, 32767, 32767), (1200, 1200, 1200), (640, 640, 640), (2,) * 7, (32767,) * 7,
]  # fmt: skip
TEXTS = {
    "a page.nii.gz": b"<html>404</html>",
    "a pointer.nii": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "nothing.nii": b"",
    "one byte.nii.gz": b"\x1f",
    "zeros.nii": bytes(10_000),
    "ones.nii.gz": b"\xff" * 10_000,
    "header alone.nii": GOOD[:348],
    "header and no more.nii.gz": gzip.compress(GOOD[:352]),
    "packed twice.nii.gz": gzip.compress(gzip.compress(GOOD)),
    "packed, not named so.nii": gzip.compress(GOOD),
    "not packed.nii.gz": GOOD,
    "two in one.nii.gz": gzip.compress(GOOD) * 2,
    "with a tail.nii.gz": gzip.compress(GOOD) + b"tail",
    "bomb.nii.gz": gzip.compress(GOOD + bytes(2**27), 1),
    "mgh.mgz": gzip.compress(nib.MGHImage(TOY["FLAIR"], np.eye(4)).to_bytes()),
    "mgh named nii.nii.gz": gzip.compress(nib.MGHImage(TOY["FLAIR"], np.eye(4)).to_bytes()),
    "second version.nii.gz": gzip.compress(nib.Nifti2Image(TOY["FLAIR"], np.eye(4)).to_bytes()),
    "second version, cut.nii": nib.Nifti2Image(TOY["FLAIR"], np.eye(4)).to_bytes()[:500],
    "line\nbreak.nii": GOOD,
    "{case} $HOME ; rm 'x' \" é 脑.nii": GOOD,
    "A.NII": GOOD,
    "-rf.nii": GOOD,
    "%s%n.nii": GOOD,
}


def inputs():
    """Names and contents of about 150 files."""
    rng = np.random.default_rng(SEED)
    files = [("header.nii", *with_field(rng)) for _ in range(60)]
    files += [("bytes.nii.gz", *with_bytes(rng)) for _ in range(25)]
    files += [("type.nii", f"type {code}", with_type(code)) for code in TYPES]
    for shape in SHAPES:
        files.append(("shape.nii", f"shape {shape}", with_shape(shape, bytes(4096))))
        files.append(("shape.nii.gz", f"packed shape {shape}", gzip.compress(with_shape(shape, bytes(4096)))))
    return files + [(name, name, content) for name, content in TEXTS.items()]


def outcome(call, path):
    """What a call returns, or the text of its error, which has to name the file; in bounded memory and time."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except (ValueError, OSError) as error:
        assert str(path) in str(error)
        return str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY and time.process_time() - start < SECONDS


INPUTS = inputs()


def test_there_are_enough():
    assert len(INPUTS) + len(KINDS) + len(FOLDERS) + len(TABLES) >= 150


@pytest.mark.parametrize("place", range(len(INPUTS)), ids=[repr(label) for _, label, _ in INPUTS])
def test_images(tmp_path, place):
    name, _, content = INPUTS[place]
    path = tmp_path / name
    path.write_bytes(content)
    found = outcome(lambda: images.load_image(path), path)
    if not isinstance(found, str):
        array = np.asanyarray(found.dataobj)
        assert array.ndim == 3 and array.dtype.kind in "uif" and array.dtype.itemsize <= 4
        assert np.isfinite(found.affine).all() and abs(np.linalg.det(found.affine[:3, :3])) > 0
    # And as an image of a case: a list of problems, nothing else.
    column = ("t1", "flair", "lesion", "brainmask")[place % 4]
    row = {"case": "sub-a"} | dict.fromkeys(("t1", "flair", "lesion", "brainmask"), "") | {column: str(path)}
    problems = outcome(lambda: cohort.case_problems(row), path)
    assert isinstance(problems, list)
    if isinstance(found, str):
        assert any(str(path) == problem["file"] and problem["action"] for problem in problems)


KINDS = (
    "pipe",
    "socket",
    "endless device",
    "folder",
    "link to itself",
    "link to nothing",
    "name too long",
    "NUL in name",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "a.nii"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "name too long":
        path = tmp_path / ("a" * 300 + ".nii")
    elif kind == "NUL in name":
        path = tmp_path / "a\0.nii"
    else:
        path.symlink_to({"endless device": "/dev/zero", "link to itself": path, "link to nothing": "no"}[kind])
    assert isinstance(outcome(lambda: images.load_image(path), path), str)
    if kind != "NUL in name":
        assert isinstance(outcome(lambda: cohort.read_csv(path), path), str)
        assert isinstance(outcome(lambda: layouts.nifti_files(path), path), list | str)


READERS = (layouts.from_folder, layouts.read_miccai17, layouts.read_ms15, layouts.read_ms16, layouts.read_ms17)
FOLDERS = {
    "empty": (),
    "other names": ("a/T1.nii.gz", "b/FLAIR.nii"),
    "names alone": ("FLAIR.nii.gz", "wmh.nii.gz", "pre/FLAIR.nii.gz"),
    "odd cases": ("sub-/sub-_FLAIR.nii.gz",),
    "folders named as files": ("sub-1_FLAIR.nii.gz/x", "Utrecht/1/pre/FLAIR.nii.gz/x", "patient01/FLAIR.nii.gz/x"),
    "formula": ("sub-=1+1/sub-=1+1_FLAIR.nii.gz",),
    "deep": ("/".join("d" * 100) + "/sub-1_FLAIR.nii.gz",),
    "blank": ("sub-a b/sub-a b_FLAIR.nii.gz",),
    "two patients, one name": (
        "x/sub-1_FLAIR.nii.gz",
        "y/sub-1_FLAIR.nii.gz",
        "x/patient01/FLAIR.nii.gz",
        "y/patient01/FLAIR.nii.gz",
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("reader", READERS)
def test_folders(tmp_path, reader, kind):
    touch(tmp_path, *FOLDERS[kind])
    found = outcome(lambda: reader(tmp_path), tmp_path)
    if not isinstance(found, str):  # what was found is empty or no file, and each file is named
        with pytest.raises(cohort.CohortError) as error:
            cohort.check(found)
        assert set(found["case"]) == set(error.value.report["case"])


TABLES = {
    "empty": b"",
    "binary": bytes(range(256)) * 10,
    "UTF-16": "case,t1,flair\nsub-a,a,b\n".encode("utf-16"),
    "byte order mark": "\ufeffcase,t1,flair\nsub-a,a,b\n".encode(),
    "semicolons": b"case;t1;flair\nsub-a;a;b\n",
    "tabs": b"case\tt1\tflair\nsub-a\ta\tb\n",
    "NUL": b"case,t1,flair\nsub-a,a\0b,c\n",
    "no end of a quotation": b'case,t1,flair\n"sub-a,a,b\n' * 3,
    "many columns": b"case,t1,flair" + b",x" * 20_000 + b"\nsub-a,a,b" + b",1" * 20_000 + b"\n",
    "column twice": b"case,t1,flair,flair\nsub-a,a,b,c\n",
    "path out of the folder": b"case,t1,flair\n../../etc,a,b\n",
    "no name": b"case,t1,flair\n,a,b\n",
    "number as name": b"case,t1,flair\n7,a,b\n",
    "paths that are none": b"case,t1,flair,lesion_rule\nsub-a,/dev/zero,/dev/null,label 1\nsub-b,.,..,7\n",
    "an unknown kind": b"case,t1,flair,synthetic\nsub-a,a,b,perhaps\n",
    "an unknown rule": b"case,t1,flair,lesion,lesion_rule\nsub-a,a,b,c,union\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path, kind):
    path = tmp_path / "cohort.csv"
    path.write_bytes(TABLES[kind])
    found = outcome(lambda: cohort.read_csv(path), path)
    if not isinstance(found, str):
        with pytest.raises(cohort.CohortError):  # no image is there
            cohort.check(found)


def test_a_good_case_among_bad_ones_is_kept(tmp_path):
    rng = np.random.default_rng(SEED)
    folder = case(tmp_path, "sub-good")
    for number in range(4):
        case(tmp_path, f"sub-bad{number}", seed=number + 1)
        path = folder / f"sub-bad{number}" / f"sub-bad{number}_T1w.nii.gz"
        path.write_bytes(path.read_bytes()[: rng.integers(200)])
    good, report = cohort.check(layouts.from_folder(folder), "leave out")
    assert good["case"].tolist() == ["sub-good"] and report["case"].nunique() == 4
    assert isinstance(report, pd.DataFrame) and report["file"].map(os.path.exists).all()


def test_two_scans_in_one_file_are_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(GOOD) * 2)
    with pytest.raises(ValueError, match="two images in one"):
        images.load_image(path)


def test_a_table_that_says_perhaps_is_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_bytes(TABLES["an unknown kind"])
    with pytest.raises(ValueError, match="synthetic is 'perhaps'"):
        cohort.read_csv(path)
