"""Twenty Monte Carlo passes of MC U-net, five ways, side by side.

    python benchmarks/monte_carlo.py [--size 128] [--passes 20] [--rounds 3]

predict  one call of `model.predict` a pass, on the paper's layers
loop     one call of a compiled function a pass, on the paper's layers
engine   `wmhqc.uncertainty.monte_carlo`
jax      the engine under Keras' JAX backend, left out where JAX is not installed
torch    the paper's layers in PyTorch, left out where it is not installed
"""

from __future__ import annotations

import numpy as np
from side_by_side import main


def volume(size):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (size, size, size, 2)).astype("float32")


def summarise(passes):
    from wmhqc.uncertainty import entropy

    mean = np.mean(passes, axis=0)
    return mean, entropy(mean)


def predict(size, passes):
    from wmhqc import networks

    model, x = networks.mc_unet(size, fused=False), volume(size)[None]
    model.compile(jit_compile=False)
    return lambda: summarise([model.predict(x, verbose=0)[0, ..., 1] for _ in range(passes)])


def loop(size, passes):
    from wmhqc import networks

    model, x = networks.mc_unet(size, fused=False), volume(size)[None]
    model.compile(jit_compile=False)
    return lambda: summarise([model.predict_on_batch(x)[0, ..., 1] for _ in range(passes)])


def engine(size, passes):
    from wmhqc import networks, uncertainty

    model, x = networks.mc_unet(size), volume(size)
    return lambda: uncertainty.monte_carlo(model, x, passes)


def torch(size, passes):
    import torch
    from torch_twin import Twin

    model, x = Twin().train(), torch.from_numpy(volume(size)).permute(3, 0, 1, 2)[None]

    def run():
        with torch.inference_mode():
            return summarise([model(x)[0, 1].numpy() for _ in range(passes)])

    return run


def jax(size, passes):
    import os

    import jax  # noqa: F401

    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return engine(size, passes)


if __name__ == "__main__":
    ways = {"predict": predict, "loop": loop, "engine": engine, "torch": torch, "jax": jax}
    main(__doc__, ways, reference="engine", size=128, passes=20)
