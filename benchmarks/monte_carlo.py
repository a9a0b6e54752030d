"""Twenty Monte Carlo passes of MC U-net, four ways, side by side.

    python benchmarks/monte_carlo.py [--size 128] [--passes 20] [--rounds 3]

Ways: `predict`, one call of `model.predict` a pass on the paper's layers; `loop`, one call of a
compiled function a pass on the paper's layers; `engine`, `wmhqc.uncertainty.monte_carlo`;
`torch`, the same layers in PyTorch (skipped where PyTorch is not installed).  Each way runs in a
process of its own, the ways take turns, and what counts is the ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

WAYS = ("predict", "loop", "engine", "torch")


def volume(size):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (size, size, size, 2)).astype("float32")


def summarise(passes):
    from wmhqc.uncertainty import entropy

    mean = np.mean(passes, axis=0)
    return mean, entropy(mean)


def predict(size, passes):
    from wmhqc import networks

    model, x = networks.mc_unet(size, form="plain"), volume(size)[None]
    model.compile(jit_compile=False)
    return lambda: summarise([model.predict(x, verbose=0)[0, ..., 1] for _ in range(passes)])


def loop(size, passes):
    from wmhqc import networks

    model, x = networks.mc_unet(size, form="plain"), volume(size)[None]
    model.compile(jit_compile=False)
    return lambda: summarise([model.predict_on_batch(x)[0, ..., 1] for _ in range(passes)])


def engine(size, passes):
    from wmhqc import networks, uncertainty

    model, x = networks.mc_unet(size), volume(size)
    return lambda: uncertainty.monte_carlo(model, x, passes)


def torch(size, passes):
    import torch as t
    from torch import nn

    class Norm(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.gamma, self.beta = (nn.Parameter(f(1, channels, 1, 1, 1)) for f in (t.ones, t.zeros))

        def forward(self, x):
            variance, mean = t.var_mean(x, (2, 3, 4), correction=0, keepdim=True)
            return (x - mean) / (variance.sqrt() + 1e-3) * self.gamma + self.beta

    def norm_prelu(channels):
        return nn.Sequential(Norm(channels), nn.PReLU(channels, init=0.0))

    class Down(nn.Module):
        def __init__(self, before, channels):
            super().__init__()
            self.stride = nn.Conv3d(before, channels, 1, stride=2)
            self.inner = nn.Sequential(norm_prelu(channels), nn.Conv3d(channels, channels, 3, padding=1))
            self.outer = nn.Sequential(norm_prelu(channels), nn.Dropout(0.2))

        def forward(self, x):
            x = self.stride(x)
            return self.outer(x + self.inner(x))

    class Up(nn.Module):
        def __init__(self, before, channels):
            super().__init__()
            self.double = nn.Sequential(
                nn.Conv3d(before, channels, 1), norm_prelu(channels),
                nn.ConvTranspose3d(channels, channels, 1, stride=2, output_padding=1), norm_prelu(channels),
            )  # fmt: skip
            self.join = nn.Sequential(
                nn.Conv3d(2 * channels, channels, 3, padding=1), norm_prelu(channels), nn.Dropout(0.2)
            )

        def forward(self, x, skip):
            return self.join(t.cat([self.double(x), skip], 1))

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv3d(2, 8, 3, padding=1), Norm(8))
            self.prelu = nn.PReLU(8, init=0.0)
            self.down = nn.ModuleList([Down(8, 16), Down(16, 32), Down(32, 64)])
            self.up = nn.ModuleList([Up(64, 32), Up(32, 16), Up(16, 8)])
            self.heads = nn.ModuleList([nn.Conv3d(c, 2, 1) for c in (32, 16, 8)])
            self.large = nn.Upsample(scale_factor=2)
            self.output = nn.Conv3d(2, 2, 1)

        def forward(self, x):
            stem = self.stem(x)
            down16 = self.down[0](stem)
            down32 = self.down[1](down16)
            up32 = self.up[0](self.down[2](down32), down32)
            up16 = self.up[1](up32, down16)
            up8 = self.up[2](up16, self.prelu(stem))
            sums = self.large(self.heads[0](up32)) + self.heads[1](up16)
            return self.output(self.large(sums) + self.heads[2](up8)).softmax(1)

    model, x = Twin().train(), t.from_numpy(volume(size)).permute(3, 0, 1, 2)[None]
    assert sum(p.numel() for p in model.parameters()) == 226_604

    def run():
        with t.inference_mode():
            return summarise([model(x)[0, 1].numpy() for _ in range(passes)])

    return run


def measure(way, size, passes):
    """Seconds of one run after a warm-up, and peak memory of the process."""
    run = globals()[way](size, passes)
    run()
    begun = time.perf_counter()
    run()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "gigabyte": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def installed(way):
    from importlib.util import find_spec

    return way != "torch" or find_spec("torch") is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.size, arguments.passes)))
        return
    ways = [way for way in WAYS if installed(way)]
    found = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in ways:
            command = [sys.executable, __file__, "--way", way]
            command += ["--size", str(arguments.size), "--passes", str(arguments.passes)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[way].append(json.loads(output.splitlines()[-1]))
    ours = np.median([run["seconds"] for run in found["engine"]])
    print(f"{arguments.passes} passes at {arguments.size}^3, {arguments.rounds} rounds")
    print(f"{'way':10}{'seconds (min - max)':>26}{'x engine':>10}{'peak GB':>9}")
    for way, runs in found.items():
        seconds = np.array([run["seconds"] for run in runs])
        spread = f"{np.median(seconds):.2f} ({seconds.min():.2f} - {seconds.max():.2f})"
        peak = max(run["gigabyte"] for run in runs)
        print(f"{way:10}{spread:>26}{np.median(seconds) / ours:>10.1f}{peak:>9.2f}")


if __name__ == "__main__":
    main()
