"""Measure several ways of doing one thing: each in a process of its own, taking turns.

Machines are noisy, so what counts is the ratio of medians within one run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np


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
        return
    found = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in list(found):
            result = _run(way, given)
            if result is None:
                del found[way]
            else:
                found[way].append(result)
    _print(found, reference, {**given, "rounds": arguments.rounds})


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


def _run(way, given):
    command = [sys.executable, sys.argv[0], "--way", way]
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result = json.loads(output.splitlines()[-1])
    if "missing" in result:
        print(f"{way}: left out ({result['missing']})")
        return None
    return result


def _print(found, reference, given):
    median = {way: np.median([run["seconds"] for run in runs]) for way, runs in found.items()}
    print(", ".join(f"{name} {value}" for name, value in given.items()))
    print(f"{'way':12}{'seconds (min - max)':>26}{f'x {reference}':>12}{'peak GB':>9}")
    for way, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        spread = f"{median[way]:.2f} ({min(seconds):.2f} - {max(seconds):.2f})"
        peak = max(run["gigabyte"] for run in runs)
        print(f"{way:12}{spread:>26}{median[way] / median[reference]:>12.2f}{peak:>9.2f}")
