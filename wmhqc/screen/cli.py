"""The command `wmhqc`: judge scans, gather the results, download MS17.

    wmhqc qc --flair F.nii.gz --t1 T.nii.gz --brainmask B.nii.gz --out DIR
    wmhqc qc FOLDER --out DIR --jobs 4
    wmhqc group DIR
    wmhqc fetch

`DIR` becomes a BIDS derivative:

    dataset_description.json
    group.tsv, group.html                          one line a scan, and the same to look at
    sub-x.html                                     the report of a scan
    sub-x/anat/sub-x_label-WMH_probseg.nii.gz      mean probability
    sub-x/anat/sub-x_label-WMH_mask.nii.gz         our segmentation
    sub-x/anat/sub-x_desc-uncertainty_map.nii.gz   entropy in bit
    sub-x/anat/sub-x_desc-error_map.nii.gz         FLAIR minus its reconstruction
    sub-x/anat/sub-x_qc.json                       verdict, scores, provenance; written last

Nothing is written elsewhere. TensorFlow is imported only when a scan is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from wmhqc import __version__

DESCRIPTION = "dataset_description.json"
#: Images that are written: name in a judgement -> ending of the file.
MAPS = {
    "prediction": "label-WMH_probseg",
    "mask": "label-WMH_mask",
    "uncertainty": "desc-uncertainty_map",
    "error": "desc-error_map",
}
BRAIN = "desc-brain_mask"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 2 bad input, 3 some scans could not be judged."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"wmhqc {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it was", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="wmhqc", description="Quality control of segmentations of white matter hyperintensities."
    )
    parser.add_argument("--version", action="version", version=f"wmhqc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    qc = commands.add_parser(
        "qc",
        help="judge one scan, a folder of scans or a BIDS data set",
        description="Segment each scan, predict the Dice of the segmentation, and say accept or review.",
    )
    qc.add_argument(
        "source",
        nargs="?",
        metavar="FOLDER",
        help="scans named sub-x_FLAIR.nii.gz and sub-x_T1w.nii.gz, or a BIDS data set",
    )
    one = qc.add_argument_group("one scan (all on the grid of the FLAIR)")
    one.add_argument("--flair", help="FLAIR (.nii or .nii.gz)")
    one.add_argument("--t1", help="T1-weighted scan (with FOLDER: a path as for masks)")
    one.add_argument("--case", help="name of the case; else from the name of the FLAIR")
    masks = qc.add_argument_group(
        "masks: files, or with FOLDER paths with {case}, {folder} (of the FLAIR) or {path} (that folder seen from FOLDER)"
    )
    masks.add_argument("--brainmask", help="brain > 0; needed if the images show the skull")
    masks.add_argument("--lesion", help="manual mask, to see the true Dice beside the predicted one")
    masks.add_argument("--segmentation", help="judge this mask instead of our own segmentation")
    masks.add_argument(
        "--program", default="", help="what drew the segmentation; a promise holds for one program's masks only"
    )
    qc.add_argument("--out", required=True, metavar="DIR", help="folder for all that is written")
    qc.add_argument(
        "--resample", action="store_true", help="put images onto the grid of the FLAIR, trusting the headers"
    )
    qc.add_argument(
        "--extract-brain", action="store_true", help="make missing brain masks with deepbet (must be installed)"
    )
    rule = qc.add_argument_group("the promise")
    rule.add_argument(
        "--calibration", metavar="TSV", help="group.tsv of labelled scans of your own, in place of the reference cases"
    )
    rule.add_argument(
        "--failed-below", type=_share, default=0.5, metavar="DICE", help="a lower lesion Dice is a failure (0.5)"
    )
    rule.add_argument("--risk", type=_share, default=0.1, help="highest share of failures among the accepted (0.1)")
    rule.add_argument("--certainty", type=_share, default=0.9, help="probability of promise and interval (0.9)")
    work = qc.add_argument_group("work")
    work.add_argument("--passes", type=_count, default=20, help="Monte Carlo passes (20)")
    work.add_argument("--jobs", type=_count, default=1, help="processes at once (1), about 1.5 GB each")
    work.add_argument(
        "--cases", nargs="+", metavar="CASE", help="only these cases of FOLDER; the group report is left out"
    )
    work.add_argument(
        "--skip-bad", action="store_true", help="list scans that cannot be judged in the table, and judge the others"
    )
    qc.set_defaults(run=_qc)

    group = commands.add_parser("group", help="make group.tsv and group.html from what qc wrote")
    group.add_argument("out", metavar="DIR")
    group.set_defaults(run=_group)

    fetch = commands.add_parser("fetch", help="download MS17: 30 patients with multiple sclerosis, about 250 MB")
    fetch.add_argument("--patients", nargs="+", type=int, metavar="N", help="patients from 1 to 30 (all)")
    fetch.add_argument("--folder", help="where to keep them (WMHQC_DATA, or the user's cache)")
    fetch.set_defaults(run=_fetch)
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


# ---------------------------------------------------------------- qc


def _qc(arguments) -> int:
    from wmhqc.screen import qc

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments.program = " ".join(arguments.program.split())  # as it comes back from a table
    rows = _rows(arguments)
    out = output_folder(arguments.out, arguments.source)
    settings = {
        name: getattr(arguments, name)
        for name in ("resample", "extract_brain", "calibration", "passes", "risk", "certainty")
    }
    settings["tau"] = arguments.failed_below
    _say_what_can_be_promised(settings, out, bool(arguments.segmentation), arguments.program)
    _refuse_own_results(rows, out)
    rests_on = foundation(settings["calibration"])
    for row in rows:
        row["key"] = key(row, settings, rests_on)
    todo = [row for row in rows if not _done(out, row)]
    if len(todo) < len(rows):
        print(f"{len(rows) - len(todo)} of {len(rows)} are there already, unchanged")

    if arguments.extract_brain and not all(row["brainmask"] for row in todo):
        qc.need_deepbet()
    bad = {case: problem for case, problem in _each(_check, todo, arguments.jobs, settings) if problem}
    if bad and not arguments.skip_bad:
        raise ValueError(
            "\n".join([*bad.values(), "nothing was judged; mend this, or leave such scans out with --skip-bad"])
        )
    describe(out, arguments.source)
    for case, problem in bad.items():
        _not_judged(case, problem, out)
    good = [row for row in todo if row["case"] not in bad]
    failed = 0
    for case, line in _each(_judge, good, arguments.jobs, settings, str(out)):
        failed += line.startswith("not judged")
        print(f"{case}: {line}", flush=True)
    if arguments.source and not arguments.cases:
        gather(out)
        print(f"group report: {_shown(out / 'group.html')}")
    for case, problem in bad.items():
        print(f"{case}: not judged, {problem}", file=sys.stderr)
    return 3 if failed or bad else 0


def _refuse_own_results(rows: list[dict], out: Path) -> None:
    """A file that would be replaced cannot be read as a mask."""
    from wmhqc.screen import qc

    for row in rows:
        replaced = {(out / name).resolve() for name in _names(row["case"])}
        for name in qc.INPUTS:
            if row.get(name) and Path(row[name]).resolve() in replaced:
                raise ValueError(
                    f"{row[name]} would be replaced by the new result; copy it to another place, or write the results to "
                    "another folder (--out)"
                )


def _say_what_can_be_promised(settings: dict, out: Path, given: bool, program: str) -> None:
    """Read the calibration cases, which are refused before any work; say so if no scan can be accepted."""
    from wmhqc.screen import qc

    path = settings["calibration"]
    if path and Path(path).resolve().is_relative_to(out):
        raise ValueError(f"{path} lies in {out}, which would change it; write the results elsewhere (--out)")
    cases = qc.same_origin(_calibration(path), given, program)
    choice = qc.promised(cases, *(settings[name] for name in ("tau", "risk", "certainty")))
    if not choice.possible:
        print(f"note: at most {100 * settings['risk']:g} % failures among the accepted {choice.message}. "
              "So every scan will be for review; labelled scans of your own may change that (--calibration)")  # fmt: skip


def _rows(arguments) -> list[dict]:
    """The cases to judge, one or all of a folder, with absolute paths."""
    from wmhqc.screen import qc

    names = ("brainmask", "lesion", "segmentation", *(["t1"] if arguments.source else []))
    masks = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    if arguments.program and not arguments.segmentation:
        raise ValueError("--program says what drew the --segmentation; give both")
    if arguments.source:
        if arguments.flair or arguments.case:
            raise ValueError("give either FOLDER or --flair and --t1, not both")
        for name, template in masks.items():
            if not any(word in template for word in ("{case}", "{folder}", "{path}")):
                raise ValueError(f"with FOLDER, --{name} must hold {{case}}, {{folder}} or {{path}}, got {template}")
        table = qc.find(arguments.source, masks)
        unknown = sorted(set(arguments.cases or []) - set(table["case"]))
        if unknown:
            raise ValueError(
                f"{arguments.source} has no case {', '.join(unknown)}; it has {', '.join(table['case'][:10])} ..."
            )
        rows = table[table["case"].isin(arguments.cases)] if arguments.cases else table
        rows = rows.to_dict("records")
    else:
        if not (arguments.flair and arguments.t1):
            raise ValueError("give FOLDER, or --flair and --t1")
        if arguments.cases:
            raise ValueError("--cases chooses from FOLDER; the name of one scan is given with --case")
        rows = [
            {
                "case": case_name(arguments.case or arguments.flair),
                "flair": arguments.flair,
                "t1": arguments.t1,
                **masks,
            }
        ]
    for row in rows:
        if row["case"] == "group":
            raise ValueError("a case cannot be called group, as group.html is the report of all; give --case")
        row |= {name: os.path.abspath(row[name]) if row.get(name) else "" for name in qc.INPUTS}
        patient = re.match("sub-([A-Za-z0-9]+)", row["case"])
        row |= {"program": arguments.program, "patient": row.get("patient") or (patient and patient[1]) or row["case"]}
    return rows


def case_name(path) -> str:
    """A name for a case from the name of its FLAIR, fit to name files."""
    name = re.sub(r"(_FLAIR)?(\.nii)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.")[:80] or "scan"


def output_folder(out, source=None) -> Path:
    """The folder of results, absolute; refused if it holds anything else.

    Raises
    ------
    ValueError
        A file, the folder of the scans, or a folder that this command did not make.
    """
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder of its own for the results (--out)")
    if source and out == Path(source).resolve():
        raise ValueError(f"{out} holds the scans; give a folder of its own for the results (--out), it may lie inside")
    from wmhqc.screen.qc import made_by_us

    if out.is_dir() and any(path.name[0] != "." for path in out.iterdir()) and not made_by_us(out):
        raise ValueError(f"{out} is not empty and was not made by wmhqc qc; give a new folder for the results (--out)")
    return out


def describe(out: Path, source=None) -> None:
    """Write dataset_description.json, which makes the folder a BIDS derivative; one that is there is kept."""
    if (out / DESCRIPTION).is_file():
        return
    content = {
        "Name": "Quality control of WMH segmentations",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "wmhqc", "Version": __version__, "CodeURL": "https://github.com/wmhqc/wmhqc"}],
    }
    if source:
        content["SourceDatasets"] = [{"URL": Path(source).resolve().as_uri()}]
    _write_text(out, DESCRIPTION, json.dumps(content, indent=2))


def foundation(calibration: str | None) -> list[str]:
    """What all results rest on, by content, since both files may be copied or made again without a change."""
    from wmhqc import reference
    from wmhqc.screen import qc

    return [qc.sha256(path) for path in (reference.folder() / "manifest.json", calibration) if path]


def key(row: dict, settings: dict, rests_on: list[str]) -> str:
    """What a result depends on, as a hash: scans (path, size, time), settings, calibration, networks, version."""
    from wmhqc.screen import qc

    def state(path) -> list:
        found = os.stat(path) if os.path.exists(path) else None
        return [str(path), found and found.st_size, found and found.st_mtime_ns]

    scans = {name: state(row[name]) for name in qc.INPUTS if row.get(name)}
    rule = {name: value for name, value in settings.items() if name != "calibration"} | {"program": row.get("program")}
    return hashlib.sha256(json.dumps([scans, rule, rests_on, __version__], sort_keys=True).encode()).hexdigest()


@functools.lru_cache
def _calibration(path: str | None):
    from wmhqc.screen import qc

    return qc.read_calibration(path) if path else qc.reference_cases()


@functools.lru_cache
def _networks():
    import logging

    from wmhqc.screen import qc

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by itself on AMD processors, and then slower
    with _quiet():
        import keras  # noqa: F401
    # Its guess, wrong where several networks are used in turn, that one of them is compiled again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return qc.load_networks()


@contextlib.contextmanager
def _quiet():
    """Without what TensorFlow says on every machine when it starts, past Python and its own settings."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _each(work: Callable, rows: list[dict], jobs: int, *arguments) -> Iterator[tuple[str, str]]:
    """Do `work` for each row, in several processes if asked; yield the case and what came of it."""
    if jobs == 1 or len(rows) < 2:
        for row in rows:
            yield row["case"], work(row, *arguments)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    jobs = min(jobs, len(rows))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    os.environ |= {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": "1"}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = {pool.submit(work, row, *arguments): row["case"] for row in rows}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MemoryError(
                "a process was killed, perhaps for want of memory; the same command goes on where it was, better with fewer --jobs"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check(row: dict, settings: dict) -> str:
    """What is wrong with a case; empty if it can be judged."""
    from wmhqc.screen import qc

    try:
        qc.read(row, settings["resample"], settings["extract_brain"])
    except Exception as error:  # whatever it is, it is this case's, and the others are looked at
        return str(error) if isinstance(error, ValueError) else f"{row['case']}: {type(error).__name__}: {error}"
    return ""


def _judge(row: dict, settings: dict, out: str) -> str:
    """Judge one case and write all about it; return a line about it."""
    out = Path(out)
    try:
        record = _judged(row, settings, out)
    except Exception as error:  # the others go on; the next call judges this case again
        problem = f"{type(error).__name__}: {error}"
        with contextlib.suppress(ValueError, OSError):
            _not_judged(row["case"], problem, out)
        return f"not judged: {problem}"
    predicted = record["predicted_dice"]
    value = "unknown" if predicted["value"] is None else f"{predicted['value']:.2f}"
    interval = "" if predicted["low"] is None else f" [{predicted['low']:.2f}, {predicted['high']:.2f}]"
    interval += "" if predicted["valid"] or not interval else ", an interval that does not hold for such a scan"
    promise = "promise applies" if record["promise"]["applies"] else "no promise applies"
    return f"{record['verdict']} ({promise}), predicted Dice {value}{interval}, {_shown(out / record['report'])}"


def _judged(row: dict, settings: dict, out: Path) -> dict:
    from wmhqc.screen import qc, report

    notes: list[str] = []
    images = qc.read(row, settings["resample"], settings["extract_brain"], notes)
    clear(row["case"], out)  # until all is written anew there is no result, rather than an old one
    if settings["extract_brain"] and "brainmask" not in images:
        images["brainmask"] = qc.brain_mask(images["t1"], out)
        notes.append("The brain mask was made with deepbet.")
    rule = {name: settings[name] for name in ("passes", "tau", "risk", "certainty")}
    known = _calibration(settings["calibration"])
    calibration = qc.without(known, row)
    if len(calibration) < len(known):
        notes.append(f"Not asked, as of the same scan or patient: {len(known) - len(calibration)} of the calibration cases.")
    judgement = qc.judge(row, _networks(), calibration, images, **rule)
    record = judgement.record
    record |= {"calibration": qc.origin(settings["calibration"]), "notes": notes, **qc.provenance(row)}
    record["files"] = write_maps(judgement, out)
    _write_text(out, f"{row['case']}.html", report.case(judgement))
    record |= {"report": f"{row['case']}.html", "settings": settings, "key": row["key"]}
    _write_record(record, out)
    return record


# ---------------------------------------------------------------- files


def stem(case: str) -> str:
    """Where the files of a case lie in the folder of results, and how their names begin."""
    match = re.match(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?", case)
    folder = "/".join([*filter(None, match.groups()), "anat"]) if match else case
    return f"{folder}/{case}"


def _inside(out: Path, name: str) -> Path:
    """The path of a result, which must lie below the folder of results even if that holds links."""
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{path} leads out of {out}; remove the link, or give another folder (--out)")
    return path


def _done(out: Path, row: dict) -> bool:
    """Is the case there, judged from the same files in the same way, with all that belongs to it?

    Raises
    ------
    ValueError
        Another scan was judged under its name.
    """
    from wmhqc.screen.qc import sha256

    record, flair = _written(out, row["case"]), row["flair"]
    before = record.get("inputs", {}).get("flair", {})
    if before and before["path"] != flair and os.path.exists(flair) and before["sha256"] != sha256(flair):
        raise ValueError(
            f"{out} has a result of another scan under the name {row['case']} ({before['path']}); give this one another "
            "name (--case), or another folder (--out)"
        )
    written = [record.get("report", ""), *record.get("files", {}).values()]
    return record.get("key") == row["key"] and all((out / name).is_file() for name in written)


def _not_judged(case: str, problem: str, out: Path) -> None:
    """Write a record that says why a case was not judged, in place of what was there of it."""
    clear(case, out)
    _write_record({"case": case, "verdict": "not judged", "reasons": [problem]}, out)


def clear(case: str, out: Path) -> None:
    """Remove what an earlier call wrote about a case, its record first."""
    for name in _names(case):
        _inside(out, name).unlink(missing_ok=True)


def _names(case: str) -> list[str]:
    """All files that may be written about a case, seen from the folder of results; the record first."""
    maps = [f"{stem(case)}_{ending}.nii.gz" for ending in (*MAPS.values(), BRAIN)]
    return [f"{stem(case)}_qc.json", f"{case}.html", *maps]


def _shown(path: Path) -> str:
    """A path as short as can be: from the working directory if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _write_text(out: Path, name: str, text: str) -> None:
    from wmhqc.files import replacing

    with replacing(_inside(out, name)) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may hold what is no text


def _write_record(record: dict, out: Path) -> None:
    _write_text(out, f"{stem(record['case'])}_qc.json", json.dumps(record, indent=1, allow_nan=False))


def _written(out: Path, case: str) -> dict:
    """The record of a case that was judged before; empty if there is none."""
    try:
        return json.loads((out / f"{stem(case)}_qc.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_maps(judgement, out: Path) -> dict[str, str]:
    """Write the maps of a case as NIfTI; return their names, seen from the folder of results."""
    from wmhqc.images import copy_codes
    from wmhqc.book import runs

    maps = dict(MAPS)
    if "brainmask" not in judgement.record["inputs"] and "brainmask" in judgement.images:
        maps["brainmask"] = BRAIN
    files = {name: f"{stem(judgement.record['case'])}_{ending}.nii.gz" for name, ending in maps.items()}
    for name, file in files.items():
        copy_codes(judgement.images[name], judgement.images["flair"])
        runs.save_image(judgement.images[name], _inside(out, file))
    return files


# ---------------------------------------------------------------- group


def _group(arguments) -> int:
    from wmhqc.screen.qc import made_by_us

    out = Path(arguments.out).resolve()
    if not made_by_us(out):
        raise ValueError(f"{out} was not made by wmhqc qc: it has no {DESCRIPTION} that says so")
    gather(out)
    print(_shown(out / "group.html"))
    return 0


def gather(out: Path) -> None:
    """Write group.tsv and group.html from the records of all cases."""
    from wmhqc.screen import report
    from wmhqc.files import replacing

    group = report.Group()
    for path in sorted(out.rglob("*_qc.json")):
        if path.name.startswith("."):  # left over from a process that was killed
            continue
        try:
            group.add(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path} is no record of wmhqc qc ({error}); remove it, and judge that scan again") from error
    if not group.rows:
        raise ValueError(f"{out}: no scan was judged yet (no file *_qc.json)")
    with replacing(_inside(out, "group.tsv")) as partial:
        partial.write_bytes(group.tsv().encode(errors="backslashreplace"))
    _write_text(out, "group.html", group.html())


# ---------------------------------------------------------------- fetch


def _fetch(arguments) -> int:
    from wmhqc.sources import download

    table = download.fetch_ms17(arguments.folder, arguments.patients)
    print(Path(table["flair"].iloc[0]).parent.parent)
    print(f"{len(table)} patients. {table['licence'].iloc[0]}: {table['citation'].iloc[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
