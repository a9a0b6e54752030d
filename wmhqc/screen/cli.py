"""The command `wmhqc`: judge scans, gather the results, read a data set, download MS17 or calibrate on it.

    wmhqc qc --flair F.nii.gz --t1 T.nii.gz --brainmask B.nii.gz --out DIR
    wmhqc qc FOLDER --out DIR --jobs 4
    wmhqc group DIR
    wmhqc cohort miccai17 DIR > mine.csv
    wmhqc fetch
    wmhqc calibrate ms17 --out DIR

`DIR` becomes a BIDS derivative (`wmhqc.screen.output`). Nothing is written elsewhere. TensorFlow is imported only when
a scan is judged.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from pathlib import Path

from wmhqc import __version__
from wmhqc.files import no_room

#: What `wmhqc cohort` reads.
LAYOUTS = ("bids", "folder", "miccai17", "ms15", "ms16", "ms17")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 2 bad input, 3 some scans could not be judged."""
    arguments = parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):  # names of files may hold what is no text, or not of this terminal
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from wmhqc.screen.parallel import handled

        with handled(signal.SIGTERM, _terminated):
            return arguments.run(arguments)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"wmhqc {arguments.command}: {no_room(error) or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("\ninterrupted; the same command goes on where it was", file=sys.stderr)
        return stop.args[0] if stop.args else 130


def _terminated(number, frame):
    raise KeyboardInterrupt(128 + number)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    what = "Quality control of segmentations of white matter hyperintensities."
    parser = argparse.ArgumentParser(prog="wmhqc", description=what)
    parser.add_argument("--version", action="version", version=f"wmhqc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    what = "judge one scan, a folder of scans or a BIDS data set"
    qc = commands.add_parser("qc", help=what, description=f"{what}: segment, predict the Dice, say accept or review")
    named = "scans named sub-x_FLAIR.nii.gz and sub-x_T1w.nii.gz, or a BIDS data set"
    qc.add_argument("source", nargs="?", metavar="FOLDER", help=named)
    qc.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for all that is written")
    qc.add_argument(
        "--resample", action="store_true", help="put images onto the grid of the FLAIR, trusting the headers"
    )
    qc.add_argument("--extract-brain", action="store_true", help="make missing brain masks (deepbet must be installed)")

    add = qc.add_argument_group("one scan (all on the grid of the FLAIR)").add_argument
    add("--flair", type=_path, help="FLAIR (.nii or .nii.gz)")
    add("--t1", type=_path, help="T1-weighted scan (with FOLDER: a path as for masks)")
    add("--case", help="name of the case; else from the name of the FLAIR")

    words = "files, or with FOLDER paths that hold {case}, {folder} (of the FLAIR) or {path} (the same, from FOLDER)"
    add = qc.add_argument_group(f"masks: {words}").add_argument
    add("--brainmask", type=_path, help="brain > 0; needed if the images show the skull")
    add("--lesion", type=_path, help="manual mask, to see the true Dice beside the predicted one")
    add("--segmentation", type=_path, help="judge this mask instead of our own segmentation")
    add("--program", default="", help="what drew the segmentation; a guarantee holds for one program's masks only")
    add("--label", type=_labels, metavar="N[,N]", help="of masks with several labels, those that are lesions")

    add = qc.add_argument_group("the guarantee").add_argument
    add(
        "--calibration",
        type=_path,
        metavar="TSV",
        help="group.tsv of labelled scans of your own, not the reference cases",
    )
    words = "a failure: dice=0.5, a lower lesion Dice (default); f1=0.4, a lower lesion F1; volume=30, off by more %%"
    add("--failed-if", type=_criterion, default="dice=0.5", metavar="WHAT=LIMIT", help=words)
    add("--risk", type=_risk, default=0.1, help="share of failures among the accepted to guarantee, or the best (0.1)")
    add("--confidence-level", dest="level", type=_share, default=0.9, help="of guarantee and interval (0.9)")

    add = qc.add_argument_group("work").add_argument
    add("--passes", type=_count, default=20, help="Monte Carlo passes (20)")
    add("--jobs", type=_count, default=1, help="processes at once (1), about 1.5 GB each")
    add("--cases", nargs="+", metavar="CASE", help="only these cases of FOLDER; the group report is left out")
    add("--skip-bad", action="store_true", help="list scans that cannot be judged in the table, judge the others")
    qc.set_defaults(run=_qc)

    group = commands.add_parser("group", help="make group.tsv and group.html from what qc wrote")
    group.add_argument("out", type=_path, metavar="DIR")
    group.set_defaults(run=_group)

    cohort = commands.add_parser(
        "cohort", help="print the cohort table of a folder: wmhqc cohort miccai17 DIR > mine.csv"
    )
    cohort.add_argument("layout", choices=LAYOUTS, help="how the folder is laid out")
    cohort.add_argument("folder", metavar="DIR")
    cohort.set_defaults(run=_cohort)

    fetch = commands.add_parser("fetch", help="download MS17: 30 patients with multiple sclerosis, about 250 MB")
    fetch.set_defaults(run=_fetch)

    what = "judge labelled patients that can be downloaded; their group.tsv is a table for `qc --calibration`"
    calibrate = commands.add_parser("calibrate", help=what, description=what)
    calibrate.add_argument("database", choices=("ms17",), help="MS17: 30 patients with multiple sclerosis")
    calibrate.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for all that is written")
    calibrate.add_argument("--jobs", type=_count, default=1, help="processes at once (1), about 1.5 GB each")
    calibrate.set_defaults(run=_calibrate)
    for command in (fetch, calibrate):
        command.add_argument("--patients", nargs="+", type=int, metavar="N", help="patients from 1 to 30 (all)")
        command.add_argument("--folder", help="where to keep them (WMHQC_DATA, or the user's cache)")
    return parser


def _path(text: str) -> str:
    """Not empty, as a shell makes of a variable that is not set: the option would count as not given."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a path (a variable of the shell that is not set?)")
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0.001 <= value <= 0.999:
        raise argparse.ArgumentTypeError(f"must lie between 0.001 and 0.999, got {text}")
    return value


def _risk(text: str) -> float:
    """A share of failures worth guaranteeing; the same limit as `wmhqc.screen.rule.MAX_RISK`."""
    value = _share(text)
    if value > 1 / 3:
        raise argparse.ArgumentTypeError(f"must be at most 0.33, as more failures are no use to guarantee, got {text}")
    return value


def _criterion(text: str) -> str:
    from wmhqc.failure import Criterion

    try:
        Criterion.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _labels(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text):
        raise argparse.ArgumentTypeError(f"must be whole numbers above 0 with commas between them, got {text[:40]}")
    return f"label {text}"


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _qc(arguments) -> int:
    from wmhqc.screen import batch

    return batch.run(arguments)


def _group(arguments) -> int:
    from wmhqc.screen import group, output
    from wmhqc.sources import bids

    out = output.real(arguments.out)
    if not bids.made_by_us(out):
        raise ValueError(f"{out} was not made by wmhqc qc: it has no {bids.DESCRIPTION} that says so")
    group.gather(out)
    print(output.shown(out / "group.html"))
    return 0


def _cohort(arguments) -> int:
    from wmhqc.sources import bids, layouts

    read = bids.read_bids if arguments.layout == "bids" else layouts.READERS[arguments.layout]
    table = read(Path(arguments.folder).resolve())
    table.to_csv(sys.stdout, index=False)
    without = (table["brainmask"] == "").sum()
    print(f"{len(table)} cases, {without} without a brain mask (needed where the skull is there)", file=sys.stderr)
    return 0


def _fetch(arguments) -> int:
    print(_fetched(arguments))
    return 0


def _fetched(arguments) -> Path:
    """Download what is not there, say whose it is; return the folder of the patients."""
    from wmhqc.sources import download

    table = download.fetch_ms17(arguments.folder, arguments.patients)
    print(f"{len(table)} patients. {table['licence'].iloc[0]}: {table['citation'].iloc[0]}")
    return Path(table["flair"].iloc[0]).parent.parent


def _calibrate(arguments) -> int:
    """Judge all patients of the folder; those of the reference run by networks that have not learnt from them."""
    from wmhqc.screen import output

    folder = _fetched(arguments)
    status = _qc(parser().parse_args(["qc", str(folder), "--out", arguments.out, "--jobs", str(arguments.jobs)]))
    print(f"For scans like these: wmhqc qc ... --calibration {output.shown(Path(arguments.out) / 'group.tsv')}")
    return status


if __name__ == "__main__":
    sys.exit(main())
