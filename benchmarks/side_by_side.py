"""Measure several ways of doing one thing: each in a process of its own, taking turns.

Machines are noisy, so what counts is the ratio of medians within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import pandas as pd


def main(description: str, ways: dict[str, Callable], reference: str, **options: int) -> None:
    """Command line of a benchmark.

    Parameters
    ----------
    description : str
        Help text.
    ways : dict
        Name -> function of the options that prepares the work and returns it as a callable.
        A way that raises ImportError is left out.
    reference : str
        The way that the others are compared with.
    options : int
        Whole-number options and their defaults.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in options.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=list(ways), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    given = {name: getattr(arguments, name) for name in options}
    if arguments.way:
        print(json.dumps(_measure(ways[arguments.way], given)))
    else:
        _print(measure(sys.argv[0], list(ways), given, arguments.rounds), reference)


def measure(script: str, ways: list[str], given: dict, rounds: int) -> pd.DataFrame:
    """Run ways of a benchmark in turns; one row for each way and round: `given`, seconds, peak gigabyte."""
    rows = []
    for turn in range(rounds):
        for way in ways:
            result = _run(script, way, given)
            if "missing" in result:
                print(f"{way}: left out ({result['missing']})")
            else:
                rows.append({"way": way, **given, "round": turn, **result})
    return pd.DataFrame(rows)


def _measure(way, given):
    """Seconds of one run after a warm-up, and peak memory of the process."""
    try:
        work = way(**given)
    except ImportError as error:
        return {"missing": str(error)}
    work()
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "gigabyte": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _run(script, way, given):
    command = [sys.executable, script, "--way", way]
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    # TensorFlow leaves oneDNN off on AMD processors
    environment = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(output.splitlines()[-1])


def _print(rows, reference):
    groups = rows.groupby("way", sort=False)
    table = groups["seconds"].agg(["median", "min", "max"])
    table[f"x {reference}"] = table["median"] / table.loc[reference, "median"]
    table["peak GB"] = groups["gigabyte"].max()
    print(table.round(2).to_string())
