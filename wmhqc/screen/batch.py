"""Judge one scan, a folder of scans or a BIDS data set, in several processes if asked: `wmhqc qc`.

TensorFlow is imported only when a scan is judged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from pathlib import Path

from wmhqc.failure import Criterion
from wmhqc.files import no_room, sweep
from wmhqc.screen import brainmask, calibration, group, inputs, judge, output, records, report, verdict
from wmhqc.screen.discover import discover
from wmhqc.screen.parallel import each


def run(arguments) -> int:
    """Judge what the command line names; return the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments.program = " ".join(arguments.program.split())  # as it comes back from a table
    rows = find_rows(arguments)
    out = output.open_folder(arguments.out, arguments.source)
    kept = ("resample", "extract_brain", "label", "calibration", "passes", "failed_if", "risk", "level")
    settings = {name: getattr(arguments, name) for name in kept}
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
    bad = {case: problem for case, problem in each(_check, todo, arguments.jobs, settings, str(out)) if problem}
    if bad and not arguments.skip_bad:
        advice = "nothing was judged; mend this, or leave such scans out with --skip-bad"
        raise ValueError("\n".join([*bad.values(), advice]))
    output.describe(out, arguments.source)
    for folder in {out, *((out / output.stem(row["case"])).parent for row in rows)}:
        sweep(folder)
    failed = _judge_all(todo, bad, arguments.jobs, settings, out)
    for row in rows:
        if row not in todo:
            records.forget_failure(row["case"], out)  # of other settings than these
    if arguments.source and not arguments.cases:
        group.gather(out)
        print(f"group report: {output.shown(out / 'group.html')}")
    for case, problem in bad.items():
        print(f"{case}: not judged, {problem}", file=sys.stderr)
    return 3 if failed or bad else 0


def _judge_all(todo: list[dict], bad: dict[str, str], jobs: int, settings: dict, out: Path) -> int:
    """Judge all cases but the bad ones, and say what came of each; return how many failed."""
    for row in todo:
        if row["case"] in bad:
            bad[row["case"]] = _note_failure(row, bad[row["case"]], out)
    good = [row for row in todo if row["case"] not in bad]
    failed = 0
    for case, line in each(_judge, good, jobs, settings, str(out)):
        failed += line.startswith("not judged")
        print(f"{case}: {line}", flush=True)
    return failed


# ---------------------------------------------------------------- what is to be judged


def find_rows(arguments) -> list[dict]:
    """The cases to judge, one or all of a folder, with absolute paths."""
    masks = ("brainmask", "lesion", "segmentation", *(["t1"] if arguments.source else []))
    masks = {name: getattr(arguments, name) for name in masks if getattr(arguments, name)}
    if arguments.program and not arguments.segmentation:
        raise ValueError("--program says what drew the --segmentation; give both")
    rows = _rows_of_folder(arguments, masks) if arguments.source else [_row_of_scan(arguments, masks)]
    for row in rows:
        output.check_name(row["case"])
        row |= {name: os.path.abspath(row[name]) if row.get(name) else "" for name in inputs.INPUTS}
        patient = re.match("sub-([A-Za-z0-9]+)", row["case"])
        row["patient"] = row.get("patient") or (patient and patient[1]) or row["case"]
        row |= {"program": arguments.program, "source": os.path.abspath(arguments.source) if arguments.source else ""}
        if arguments.label:
            row |= {"lesion_rule": arguments.label, "segmentation_rule": arguments.label}
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
    case = output.case_name(arguments.case or arguments.flair)
    return {"case": case, "flair": arguments.flair, "t1": arguments.t1, **masks}


def _refuse_own_results(rows: list[dict], out: Path) -> None:
    """A file that would be replaced cannot be read as a mask."""
    for row in rows:
        replaced = {output.real(out / name) for name in output.names(row["case"])}
        for name in inputs.INPUTS:
            if row.get(name) and output.real(row[name]) in replaced:
                raise ValueError(
                    f"{row[name]} would be replaced by the new result; copy it to another place, or write the results "
                    "to another folder (--out)"
                )


def _say_what_can_be_guaranteed(settings: dict, out: Path, given: bool, program: str) -> None:
    """Read the calibration cases, which are refused before any work; say so if no scan can be accepted."""
    path = settings["calibration"]
    if path and output.real(path).is_relative_to(out):
        raise ValueError(f"{path} lies in {out}, which would change it; write the results elsewhere (--out)")
    criterion = Criterion.parse(settings["failed_if"])
    words = verdict.what_is_missing(_calibration(path), given, program, criterion, settings["risk"], settings["level"])
    if words:
        print(f"note: {words}; labelled scans of your own may change that (--calibration)")


# ---------------------------------------------------------------- one case


def _check(row: dict, settings: dict, out: str) -> str:
    """What is wrong with a case; empty if it can be judged."""
    try:
        for name in output.names(row["case"]):
            output.inside(Path(out), name)
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
        return f"not judged: {_note_failure(row, _problem(error), out)}"
    predicted = record["predicted_dice"]
    value = "unknown" if predicted["value"] is None else f"{predicted['value']:.2f}"
    interval = "" if predicted["low"] is None else f" [{predicted['low']:.2f}, {predicted['high']:.2f}]"
    interval += "" if predicted["valid"] or not interval else ", an interval that does not hold for such a scan"
    applies = "guarantee applies" if record["guarantee"]["applies"] else "no guarantee applies"
    where = output.shown(out / record["report"])
    return f"{record['verdict']} ({applies}), predicted Dice {value}{interval}, {where}"


def _judged(row: dict, settings: dict, out: Path) -> dict:
    notes: list[str] = []
    images = inputs.read(row, settings["resample"], settings["extract_brain"], notes)
    if settings["extract_brain"] and "brainmask" not in images:
        images["brainmask"] = brainmask.extract(images["t1"], out)
        notes.append("The brain mask was made with deepbet.")
    rule = {name: settings[name] for name in ("passes", "risk", "level")}
    rule["criterion"] = Criterion.parse(settings["failed_if"])
    judgement = judge.judge(row, _networks(), _calibration(settings["calibration"]), images, notes, **rule)
    judgement.record["settings"] = settings
    records.write(judgement, out, report.case(judgement))
    return judgement.record


def _note_failure(row: dict, problem: str, out: Path) -> str:
    """Write down that a case was not judged; return why, and whether that could be written."""
    try:
        records.write_failure(row, problem, out)
    except (ValueError, OSError) as error:
        return f"{problem}; nor could this be written down: {_problem(error)}"
    return problem


def _problem(error: Exception) -> str:
    return no_room(error) or f"{type(error).__name__}: {error}"


@functools.cache
def _calibration(path: str | None):
    return calibration.read_calibration(path) if path else calibration.reference_cases()


@functools.cache
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
