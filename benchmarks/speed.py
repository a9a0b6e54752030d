"""All that the book's page on speed shows, in one command.

    python benchmarks/speed.py [--out wmhqc/data/speed] [--rounds 3]

Writes measured.csv, one row for each way and round, profile.csv, no_loss.csv and machine.json.  What is already in
measured.csv is not measured again, so a run that was cut off goes on.  PyTorch and SimpleITK are
measured where they are installed.  Takes about half an hour on 2 cores; leave the machine alone
meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

import no_loss
import numpy as np
import pandas as pd
import preparation
from side_by_side import measure
from where_time_goes import profile

HERE = Path(__file__).parent
ALL = ["predict", "loop", "engine", "torch"]
PLAN = [
    ("monte_carlo", ALL, {"size": 128, "passes": 20}),
    ("monte_carlo", ["engine"], {"size": 128, "passes": 1}),
    ("monte_carlo", ["engine"], {"size": 128, "passes": 5}),
    ("monte_carlo", ["engine"], {"size": 128, "passes": 40}),
    ("monte_carlo", ALL, {"size": 64, "passes": 20}),
    ("monte_carlo", ["engine"], {"size": 32, "passes": 20}),
    ("monte_carlo", ["engine"], {"size": 96, "passes": 20}),
    ("training_step", ["plain", "fast", "torch"], {"size": 64, "steps": 5}),
    ("training_step", ["plain", "fast", "torch"], {"size": 128, "steps": 3}),
    ("monte_carlo", ["jax"], {"size": 64, "passes": 20}),
    ("training_step", ["jax"], {"size": 64, "steps": 5}),
]


def peak(seconds: float = 3) -> float:
    """Multiply-adds a second (10⁹) that this machine does in its favourite work, a large matrix product."""
    import keras

    n = 2048
    a = keras.random.normal((n, n))
    work = lambda: np.asarray(keras.ops.matmul(a, a)[0, 0])  # noqa: E731
    work()
    times, begun = [], time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return n**3 / min(times) / 1e9


def machine() -> dict:
    from wmhqc import networks

    versions = {}
    for name in ("tensorflow", "keras", "numpy", "scipy", "torch", "SimpleITK"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    names = (
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "processor": next(names, platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "peak_gmac_per_s": [round(peak(), 1) for _ in range(3)],
        "gmac": {
            str(size): round(sum(networks.multiplications(networks.mc_unet(size, fused=False)).values()) / 1e9, 2)
            for size in (32, 64, 96, 128)
        },
        "versions": versions,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "wmhqc" / "data" / "speed")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "measured.csv"
    (given.out / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    known = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["benchmark", "way"])
    for benchmark, ways, options in PLAN:
        same = known["benchmark"] == benchmark
        for name, value in options.items():
            same &= known.get(name) == value
        left = [way for way in ways if way not in set(known.loc[same, "way"])]
        if left:
            print(benchmark, options, ", ".join(left), flush=True)
            rows = measure(str(HERE / f"{benchmark}.py"), left, options, given.rounds).assign(benchmark=benchmark)
            known = pd.concat([known, rows])
            known.to_csv(file, index=False)
    if not (given.out / "no_loss.csv").exists():
        no_loss.compare().to_csv(given.out / "no_loss.csv", index=False)
    if not (given.out / "profile.csv").exists():
        profile().to_csv(given.out / "profile.csv", index=False)
    if "preparation" not in set(known["benchmark"]):
        rows = preparation.table([64, 128], given.rounds)
        pd.concat([known, rows.assign(benchmark="preparation")]).to_csv(file, index=False)


if __name__ == "__main__":
    main()
