"""Time and peak memory of making and of preparing a synthetic cohort.

    python benchmarks/cohort.py FOLDER [--cases 105] [--size 128] [--jobs 2]

Memory is the sum over this process and its workers, looked at every 0.2 seconds; of pages that
processes share each gets its part (PSS). It should not depend on the number of cases.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from pathlib import Path

import psutil
from joblib import Parallel, delayed

from wmhqc import preprocess
from wmhqc.sources import synthetic


class Peak:
    """Largest memory of this process and its children while a block runs, in MB."""

    def __enter__(self) -> Peak:
        self.megabytes, self.begun, self._over = 0.0, time.perf_counter(), threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *error) -> None:
        self._over.set()
        self._watch.join()
        self.seconds = time.perf_counter() - self.begun

    def _look(self) -> None:
        here = psutil.Process()
        while not self._over.wait(0.2):
            total = 0
            for process in [here, *here.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):  # it ended meanwhile
                    total += process.memory_full_info().pss
            self.megabytes = max(self.megabytes, total / 1e6)


def prepare(row: dict, size: int, folder: Path) -> None:
    case = preprocess.prepare_row(row, size)
    preprocess.save(case, folder / f"{case.case}.npz")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=105)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with Peak() as making:
        table = synthetic.make_cohort(given.folder / "cohort", given.cases, jobs=given.jobs, progress=False)
    with Peak() as preparing:
        work = (delayed(prepare)(row, given.size, given.folder / "prepared") for row in table.to_dict("records"))
        Parallel(n_jobs=given.jobs)(work)
    for name, peak in {"made": making, f"prepared at {given.size} cubed": preparing}.items():
        print(f"{given.cases} cases {name}: {peak.seconds:.0f} s, at most {peak.megabytes:.0f} MB")
