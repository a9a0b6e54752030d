"""What one Monte Carlo pass of the engine spends its time on, by TensorFlow's profiler.

python benchmarks/where_time_goes.py [--size 128] [--passes 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

#: What the name of an operation begins with -> the kind of its work; the first that fits.
KINDS = {
    (
        "_MklNativeConv",
        "_MklNativeFusedConv",
        "Conv3D",
        "_MklNativeFusedMatMul",
        "_MklMatMul",
        "MatMul",
        "_FusedMatMul",
        "_MklFused",
    ): "convolution",
    ("StatelessRandom", "GreaterEqual", "SelectV2"): "dropout: random numbers and masks",
    (
        "_MklTranspose",
        "Transpose",
        "Concat",
        "Tile",
        "Split",
        "Pad",
        "Reshape",
        "StridedSlice",
        "TemporaryVariable",
        "Assign",
    ): "moving and repeating values",
    ("_MklSoftmax", "Softmax"): "softmax",
    (
        "Mean",
        "SquaredDifference",
        "Mul",
        "Add",
        "Sub",
        "Relu",
        "Sqrt",
        "RealDiv",
        "_UnaryOps",
        "_Mkl",
        "Neg",
        "BiasAdd",
        "Square",
        "Sum",
    ): "normalisation, activation, sums",
}


def profile(size: int = 128, passes: int = 5) -> pd.DataFrame:
    """Milliseconds a pass for each kind of work; operations that run side by side count both."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from wmhqc import networks, uncertainty

    volume = np.random.default_rng(0).uniform(0, 255, (size, size, size, 2)).astype("float32")
    deterministic, stochastic = uncertainty._split_at_dropout(networks.mc_unet(size))
    fixed = deterministic.predict_on_batch(volume[None])
    stochastic.predict_on_batch(fixed)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(passes):
            stochastic.predict_on_batch(fixed)
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    rows = []
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                _, separator, operation = plane.event_metadata[event.metadata_id].name.rpartition(":")
                kind = next((k for starts, k in KINDS.items() if operation.startswith(starts)), None)
                if separator and kind:
                    rows.append({"work": kind, "ms": event.duration_ps / 1e9 / passes})
    table = pd.DataFrame(rows).groupby("work", as_index=False)["ms"].sum().sort_values("ms", ascending=False)
    return table.assign(share=table["ms"] / table["ms"].sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--passes", type=int, default=5)
    given = parser.parse_args()
    print(profile(given.size, given.passes).round(2).to_string(index=False))
