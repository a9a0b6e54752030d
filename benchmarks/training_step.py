"""Training steps of MC U-net, batch 1, four ways, side by side.

    python benchmarks/training_step.py [--size 128] [--steps 5] [--rounds 3]

plain  the paper's layers in Keras, TensorFlow backend
fast   `wmhqc.networks.mc_unet` as it is
jax    the same under Keras' JAX backend, left out where JAX is not installed
torch  the paper's layers in PyTorch, left out where it is not installed
"""

from __future__ import annotations

import numpy as np
from side_by_side import main


def example(size):
    volume = np.random.default_rng(0).uniform(0, 255, (1, size, size, size, 2)).astype("float32")
    return volume, (volume[..., 1:] > 250).astype("float32")


def keras_steps(form, size, steps):
    import keras

    from wmhqc import losses, networks, training

    model, (volume, mask) = networks.mc_unet(size, fused=form == "fast"), example(size)
    model.compile(keras.optimizers.Adam(1e-3), losses.two_class_dice_loss, jit_compile=training.jit())
    return lambda: [model.train_on_batch(volume, mask) for _ in range(steps)]


def plain(size, steps):
    return keras_steps("plain", size, steps)


def fast(size, steps):
    return keras_steps("fast", size, steps)


def torch(size, steps):
    import torch
    from torch_twin import Twin

    volume, mask = (torch.from_numpy(a).permute(0, 4, 1, 2, 3).contiguous() for a in example(size))
    model = Twin().train()
    adam = torch.optim.Adam(model.parameters(), 1e-3)

    def step():
        p = model(volume)
        truth = torch.cat([1 - mask, mask], 1)
        overlap, total = (p * truth).sum((2, 3, 4)), (p + truth).sum((2, 3, 4))
        loss = 1 - ((2 * overlap + 1) / (total + 1)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return lambda: [step() for _ in range(steps)]


def jax(size, steps):
    import os

    import jax  # noqa: F401

    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return keras_steps("fast", size, steps)


if __name__ == "__main__":
    main(__doc__, {"plain": plain, "fast": fast, "torch": torch, "jax": jax}, reference="fast", size=128, steps=5)
