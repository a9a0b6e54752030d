"""The networks give the same numbers under TensorFlow and under JAX, from the same weights."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

# Run in a process of its own for each backend: Keras has one for life.
RUN = """
import sys
from pathlib import Path

import keras
import numpy as np

from wmhqc import layers, losses, networks, training, uncertainty

folder, size = Path(sys.argv[1]), 16
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
volume = rng.uniform(0, 255, (1, size, size, size, 2)).astype("float32")
flair, mask = volume[..., 1:] / 255, (rng.random((1, size, size, size, 1)) < 0.1).astype("float32")
work = {
    "mc_unet": (volume, mask, losses.two_class_dice_loss),
    "rec_unet": (flair, flair, losses.ssim_loss),
    "reg_net": (volume / 255, np.array([[0.5]], "float32"), losses.huber()),
}
found = {}
for name, (x, y, loss) in work.items():
    model, weights = getattr(networks, name)(size), folder / f"{name}.weights.h5"
    if weights.exists():
        model.load_weights(weights)
    else:
        model.save_weights(weights)
    if name == "mc_unet":
        twice = [uncertainty.monte_carlo(model, x[0], 3, seed=1).mean for _ in range(2)]
        found["repeats"] = np.abs(twice[0] - twice[1]).max()
        found["differs"] = np.abs(twice[0] - uncertainty.monte_carlo(model, x[0], 3, seed=2).mean).max()
        for layer in model.layers:
            if isinstance(layer, layers.MonteCarloDropout):
                layer.rate = 0.0  # random numbers are the backend's own
    found[name] = np.asarray(model(x))
    found[f"{name} loss"] = np.asarray(loss(y, model(x))).mean()
    if name == "reg_net":
        model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=training.jit())
        found["steps"] = [float(model.train_on_batch(x, y)) for _ in range(3)]
np.savez(folder / f"{keras.backend.backend()}.npz", **found)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("backends")
    for backend in ("tensorflow", "jax"):
        environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-c", RUN, str(folder)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(folder / f"{backend}.npz")) for backend in ("tensorflow", "jax")]


@pytest.mark.parametrize("name", ["mc_unet", "rec_unet", "reg_net"])
def test_outputs_and_losses_agree(found, name):
    ours, theirs = found
    np.testing.assert_allclose(theirs[name], ours[name], atol=1e-4)
    np.testing.assert_allclose(theirs[f"{name} loss"], ours[f"{name} loss"], atol=1e-5)


def test_training_steps_agree(found):
    np.testing.assert_allclose(found[1]["steps"], found[0]["steps"], atol=1e-3)
    assert found[0]["steps"][2] < found[0]["steps"][0]


@pytest.mark.parametrize("backend", [0, 1], ids=["tensorflow", "jax"])
def test_monte_carlo_passes_follow_their_seed(found, backend):
    assert found[backend]["repeats"] == 0 and found[backend]["differs"] > 0.01
