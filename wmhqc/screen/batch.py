"""Judge one scan, a folder of scans or a BIDS data set, in several processes if asked: `wmhqc qc`.

TensorFlow is imported only when a scan is judged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from wmhqc.screen import brainmask, calibration, group, inputs, judge, records, report, verdict
from wmhqc.screen.discover import discover


def run(arguments) -> int:
    """Judge what the command line names; return the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments.program = " ".join(arguments.program.split())  # as it comes back from a table
    rows = find_rows(arguments)
    out = records.output_folder(arguments.out, arguments.source)
    kept = ("resample", "extract_brain", "calibration", "passes", "risk", "level")
    settings = {name: getattr(arguments, name) for name in kept} | {"tau": arguments.failed_below}
    _say_what_can_be_guaranteed(settings, out, bool(arguments.segmentation), arguments.program)
    _refuse_own_results(rows, out)
    rests_on = records.foundation(settings["calibration"])
    for row in rows:
        row["key"] = records.key(row, settings, rests_on)
    todo = [row for row in rows if not records.done(out, row)]
    if len(todo) < len(rows):
        print(f"{len(rows) - len(todo)} of {len(rows)} are there already, unchanged")

    if arguments.extract_brain and not all(row["brainmask"] for row in todo):
        brainmask.need_deepbet()
    bad = {case: problem for case, problem in each(_check, todo, arguments.jobs, settings) if problem}
    if bad and not arguments.skip_bad:
        advice = "nothing was judged; mend this, or leave such scans out with --skip-bad"
        raise ValueError("\n".join([*bad.values(), advice]))
    records.describe(out, arguments.source)
    for case, problem in bad.items():
        records.not_judged(case, problem, out)
    good = [row for row in todo if row["case"] not in bad]
    failed = 0
    for case, line in each(_judge, good, arguments.jobs, settings, str(out)):
        failed += line.startswith("not judged")
        print(f"{case}: {line}", flush=True)
    if arguments.source and not arguments.cases:
        group.gather(out)
        print(f"group report: {records.shown(out / 'group.html')}")
    for case, problem in bad.items():
        print(f"{case}: not judged, {problem}", file=sys.stderr)
    return 3 if failed or bad else 0


# ---------------------------------------------------------------- what is to be judged


def find_rows(arguments) -> list[dict]:
    """The cases to judge, one or all of a folder, with absolute paths."""
    masks = ("brainmask", "lesion", "segmentation", *(["t1"] if arguments.source else []))
    masks = {name: getattr(arguments, name) for name in masks if getattr(arguments, name)}
    if arguments.program and not arguments.segmentation:
        raise ValueError("--program says what drew the --segmentation; give both")
    rows = _rows_of_folder(arguments, masks) if arguments.source else [_row_of_scan(arguments, masks)]
    for row in rows:
        if row["case"] == "group":
            raise ValueError("a case cannot be called group, as group.html is the report of all; give --case")
        row |= {name: os.path.abspath(row[name]) if row.get(name) else "" for name in inputs.INPUTS}
        patient = re.match("sub-([A-Za-z0-9]+)", row["case"])
        row |= {"program": arguments.program, "patient": row.get("patient") or (patient and patient[1]) or row["case"]}
    return rows


def _rows_of_folder(arguments, masks: dict) -> list[dict]:
    if arguments.flair or arguments.case:
        raise ValueError("give either FOLDER or --flair and --t1, not both")
    for name, template in masks.items():
        if not any(word in template for word in ("{case}", "{folder}", "{path}")):
            raise ValueError(f"with FOLDER, --{name} must hold {{case}}, {{folder}} or {{path}}, got {template}")
    table = discover(arguments.source, masks)
    unknown = sorted(set(arguments.cases or []) - set(table["case"]))
    if unknown:
        some = ", ".join(table["case"][:10])
        raise ValueError(f"{arguments.source} has no case {', '.join(unknown)}; it has {some} ...")
    return (table[table["case"].isin(arguments.cases)] if arguments.cases else table).to_dict("records")


def _row_of_scan(arguments, masks: dict) -> dict:
    if not (arguments.flair and arguments.t1):
        raise ValueError("give FOLDER, or --flair and --t1")
    if arguments.cases:
        raise ValueError("--cases chooses from FOLDER; the name of one scan is given with --case")
    case = records.case_name(arguments.case or arguments.flair)
    return {"case": case, "flair": arguments.flair, "t1": arguments.t1, **masks}


def _refuse_own_results(rows: list[dict], out: Path) -> None:
    """A file that would be replaced cannot be read as a mask."""
    for row in rows:
        replaced = {(out / name).resolve() for name in records.names(row["case"])}
        for name in inputs.INPUTS:
            if row.get(name) and Path(row[name]).resolve() in replaced:
                raise ValueError(
                    f"{row[name]} would be replaced by the new result; copy it to another place, or write the results "
                    "to another folder (--out)"
                )


def _say_what_can_be_guaranteed(settings: dict, out: Path, given: bool, program: str) -> None:
    """Read the calibration cases, which are refused before any work; say so if no scan can be accepted."""
    path = settings["calibration"]
    if path and Path(path).resolve().is_relative_to(out):
        raise ValueError(f"{path} lies in {out}, which would change it; write the results elsewhere (--out)")
    cases = calibration.same_origin(_calibration(path), given, program)
    choice = verdict.certified_threshold(cases, *(settings[name] for name in ("tau", "risk", "level")))
    if not choice.possible:
        print(
            f"note: at most {100 * settings['risk']:g} % failures among the accepted {choice.message}. So every scan "
            "will be for review; labelled scans of your own may change that (--calibration)"
        )


# ---------------------------------------------------------------- one case


def _check(row: dict, settings: dict) -> str:
    """What is wrong with a case; empty if it can be judged."""
    try:
        inputs.read(row, settings["resample"], settings["extract_brain"])
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
            records.not_judged(row["case"], problem, out)
        return f"not judged: {problem}"
    predicted = record["predicted_dice"]
    value = "unknown" if predicted["value"] is None else f"{predicted['value']:.2f}"
    interval = "" if predicted["low"] is None else f" [{predicted['low']:.2f}, {predicted['high']:.2f}]"
    interval += "" if predicted["valid"] or not interval else ", an interval that does not hold for such a scan"
    applies = "guarantee applies" if record["guarantee"]["applies"] else "no guarantee applies"
    where = records.shown(out / record["report"])
    return f"{record['verdict']} ({applies}), predicted Dice {value}{interval}, {where}"


def _judged(row: dict, settings: dict, out: Path) -> dict:
    notes: list[str] = []
    images = inputs.read(row, settings["resample"], settings["extract_brain"], notes)
    records.clear(row["case"], out)  # until all is written anew there is no result, rather than an old one
    if settings["extract_brain"] and "brainmask" not in images:
        images["brainmask"] = brainmask.extract(images["t1"], out)
        notes.append("The brain mask was made with deepbet.")
    known = _calibration(settings["calibration"])
    cases = calibration.exclude_patient(known, row)
    if len(cases) < len(known):
        left_out = len(known) - len(cases)
        notes.append(f"Not asked, as of the same scan or patient: {left_out} of the calibration cases.")
    rule = {name: settings[name] for name in ("passes", "tau", "risk", "level")}
    judgement = judge.judge(row, _networks(), cases, images, **rule)
    record = judgement.record
    record |= {"calibration": calibration.describe(settings["calibration"]), "notes": notes, **records.provenance(row)}
    record["files"] = records.write_maps(judgement, out)
    records.write_text(out, f"{row['case']}.html", report.case(judgement))
    record |= {"report": f"{row['case']}.html", "settings": settings, "key": row["key"]}
    records.write_record(record, out)
    return record


@functools.lru_cache
def _calibration(path: str | None):
    return calibration.read_calibration(path) if path else calibration.reference_cases()


@functools.lru_cache
def _networks() -> dict:
    import logging

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by itself on AMD processors, and then slower
    with _quiet():
        import keras  # noqa: F401
    # Its guess, wrong where several networks are used in turn, that one of them is compiled again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return judge.load_networks()


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


# ---------------------------------------------------------------- several processes


def each(work: Callable, rows: list[dict], jobs: int, *arguments) -> Iterator[tuple[str, str]]:
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
                "a process was killed, perhaps for want of memory; the same command goes on where it was, better with "
                "fewer --jobs"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
