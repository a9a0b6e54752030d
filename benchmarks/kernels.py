"""Does every processor make the same synthetic cohort?

    python benchmarks/kernels.py [CASE ...] [--voxel 2.5 2.5 3] [--jobs 1]

Makes the cases (all 105 by default) with the kernels that this processor chooses, and again in
processes that are told to choose those of another: OpenBLAS by OPENBLAS_CORETYPE, numpy by
NPY_DISABLE_CPU_FEATURES, the C library by GLIBC_TUNABLES. Prints for each kernel the largest
relative difference of lesion volume and how many cases differ in any voxel of any image. On a processor
with AVX-512 no voxel of the 105 cases differed between any of them (recipe 8, 29 November 2026).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd

KERNELS = {
    "this processor": {},
    "OpenBLAS Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "OpenBLAS SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "numpy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"},
}
"""Name -> environment. The names of numpy's features are those of numpy 2.4."""


def make(cases: pd.DataFrame, voxel: tuple | None, jobs: int) -> list[dict]:
    """Lesion volume in ml and a checksum over the voxels of the four images, one dict a case."""
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    from wmhqc.sources import synthetic

    def one(case: str, site: str) -> dict:
        with threadpool_limits(1):
            made = synthetic.make_case(case, site, 0, voxel)
        voxels = b"".join(np.asarray(image.dataobj).tobytes() for image in made[:4])
        return {"case": case, "lesion_ml": made.facts["lesion_ml"], "voxels": zlib.crc32(voxels)}

    return Parallel(jobs)(delayed(one)(case, site) for case, site in zip(cases.case, cases.site))


def compare(here: pd.DataFrame, there: pd.DataFrame) -> dict:
    """Largest relative difference of lesion volume in %, and the number of cases that differ anywhere."""
    apart = (there.lesion_ml / here.lesion_ml - 1).abs()
    return {
        "largest difference of volume (%)": 100 * apart.max(),
        "in case": here.case[apart.idxmax()] if apart.max() else "",
        "cases with any other voxel": int((here.voxels != there.voxels).sum()),
        "cases": len(here),
    }


def main() -> None:
    from wmhqc.sources import synthetic

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--voxel", nargs=3, type=float, metavar="MM")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)  # what each process does
    given = parser.parse_args()
    table = synthetic.members()
    if unknown := set(given.cases) - set(table.case):
        parser.error(f"not in the cohort: {', '.join(sorted(unknown))}; cases are named as {table.case[0]}")
    if given.make:
        chosen = table[table.case.isin(given.cases)] if given.cases else table
        print(json.dumps(make(chosen, given.voxel and tuple(given.voxel), given.jobs)))
        return
    command = [sys.executable, "-W", "ignore", __file__, "--make", *sys.argv[1:]]
    made = {}
    for name, environment in KERNELS.items():
        run = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
        made[name] = pd.DataFrame(json.loads(run.stdout))
    first, *others = KERNELS
    print(pd.DataFrame({name: compare(made[first], made[name]) for name in others}).T.to_string())


if __name__ == "__main__":
    main()
