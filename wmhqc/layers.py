"""Layers of the paper's networks that Keras does not have: normalisation, dropout that stays on, fused doubling.

Under Keras' policy `mixed_bfloat16` means and variances stay in float32.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable("wmhqc")
class InstanceNorm(layers.Layer):
    """Normalise each channel of each volume: `(x - mean) / (std + 1e-3) * gamma + beta`.

    The small constant is added to the standard deviation, as in the authors' code, and not
    to the variance, as in `keras.layers.GroupNormalization`.
    """

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x):
        # in float32 under every policy: sums over two million voxels
        mean, variance = ops.moments(ops.cast(x, "float32"), axes=(1, 2, 3), keepdims=True)
        scale, shift = self.line(ops.cast(mean, x.dtype), ops.cast(variance, x.dtype))
        return x * scale + shift

    def line(self, mean, variance):
        """The normalisation as `x * scale + shift`: two operations a voxel instead of five."""
        scale = self.gamma / (ops.sqrt(variance) + 1e-3)
        return scale, self.beta - mean * scale


@keras.saving.register_keras_serializable("wmhqc")
class MonteCarloDropout(layers.Dropout):
    """Dropout that is on in training and at test time alike.

    `layers.Dropout(rate)(x, training=True)` in a functional model is *not* enough: Keras 3
    switches it off in `predict`, `evaluate` and `model(x, training=False)`, and every Monte
    Carlo pass would silently give the same answer.
    """

    def call(self, x, training=None):
        return super().call(x, training=True)


def seed_dropout(model, *seed: int) -> None:
    """Set the random numbers that the Monte Carlo dropout of a model draws next.

    Keras draws with (a, b), (a, b + 1), ...: each layer needs an `a` of its own, or one layer would soon draw the
    masks of another.
    """
    for i, layer in enumerate(layer for layer in model.layers if isinstance(layer, MonteCarloDropout)):
        state = np.random.SeedSequence([*seed, i]).generate_state(2)
        layer.seed_generator.state.assign(state.astype("uint32"))


@keras.saving.register_keras_serializable("wmhqc")
class DoublingConv(layers.Layer):
    """Double the grid and convolve: four layers of the paper in one, without their zeros.

    A 1x1x1 transposed convolution with stride 2 puts a value into one voxel in eight and its
    bias into the other seven; instance normalisation and PReLU then act on each voxel alone,
    so seven voxels in eight still hold one constant a channel.  The 3x3x3 convolution is
    linear: of the values that differ from the constant it is a 2x2x2 convolution of the *small*
    grid to eight times the channels, and of the constant it has only 27 different values
    (first, middle or last along each axis).

    The same numbers as the four layers, from the same weights, at about a third of the time.

    Parameters
    ----------
    filters : int
        Channels of input and output.
    initializer : str or keras initializer
        Kernel initialiser.
    """

    def __init__(self, filters, initializer="he_normal", **options):
        super().__init__(**options)
        self.filters = filters
        self.initializer = keras.initializers.get(initializer)
        self.double = layers.Conv3DTranspose(
            filters, 1, strides=2, kernel_initializer=self.initializer.clone(), name="double"
        )
        self.norm = InstanceNorm(name="norm")
        self.prelu = layers.PReLU(shared_axes=(1, 2, 3), name="prelu")
        self.conv = layers.Conv3D(filters, 3, padding="same", kernel_initializer=self.initializer.clone(), name="conv")

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return super().get_config() | {"filters": self.filters, "initializer": initializer}

    def compute_output_shape(self, shape):
        return shape[0], *(2 * n for n in shape[1:4]), self.filters

    def build(self, shape):
        large = self.compute_output_shape(shape)
        self.double.build(shape)
        for layer in (self.norm, self.prelu, self.conv):
            layer.build(large)

    def call(self, x):
        bias = self.double.bias
        value = ops.matmul(x, ops.transpose(self.double.kernel[0, 0, 0])) + bias
        # mean and variance over the large grid: one voxel in eight has a value, seven the bias
        exact, rest = ops.cast(value, "float32"), ops.cast(bias, "float32")
        mean = (ops.mean(exact, axis=(1, 2, 3), keepdims=True) + 7 * rest) / 8
        variance = (ops.mean((exact - mean) ** 2, axis=(1, 2, 3), keepdims=True) + 7 * (rest - mean) ** 2) / 8
        scale, shift = self.norm.line(ops.cast(mean, value.dtype), ops.cast(variance, value.dtype))
        constant = self.prelu(bias * scale + shift)
        sparse = self._convolve_sparse(self.prelu(value * scale + shift) - constant)
        return sparse + self._convolve_constant(constant, x.shape[1:4]) + self.conv.bias

    def _convolve_sparse(self, value):
        """3x3x3 convolution of a grid that holds `value` at even positions and zeros elsewhere."""
        taps = ops.reshape(self.conv.kernel, (27, -1))
        kernel = ops.reshape(ops.matmul(ops.cast(_TAPS, taps.dtype), taps), (2, 2, 2, 8, self.filters, self.filters))
        kernel = ops.reshape(ops.moveaxis(kernel, 3, 4), (2, 2, 2, self.filters, 8 * self.filters))
        padded = ops.pad(value, ((0, 0), (0, 1), (0, 1), (0, 1), (0, 0)))
        y = ops.conv(padded, kernel, padding="valid")
        i, j, k = value.shape[1:4]
        y = ops.reshape(y, (-1, i, j, k, 2, 2, 2, self.filters))
        y = ops.transpose(y, (0, 1, 4, 2, 5, 3, 6, 7))
        return ops.reshape(y, (-1, 2 * i, 2 * j, 2 * k, self.filters))

    def _convolve_constant(self, constant, small):
        """3x3x3 convolution of a large grid that holds one constant a channel."""
        cube = ops.broadcast_to(constant, (ops.shape(constant)[0], 3, 3, 3, self.filters))
        y = ops.conv(cube, self.conv.kernel, padding="same")  # first, middle, last of each axis
        for axis, n in enumerate(small, 1):
            first, middle, last = ops.split(y, 3, axis=axis)
            y = ops.concatenate([first, ops.repeat(middle, 2 * n - 2, axis=axis), last], axis=axis)
        return y


def _small_taps():
    """Which of the 27 taps of a 3x3x3 kernel is which tap of the 2x2x2 kernel (64 x 27).

    Along one axis an even output meets the middle tap at its own small voxel; an odd one meets
    the first tap there and the last at the next.  Rows: tap of the small kernel, then parity.
    """
    axis = np.zeros((2, 2, 3), np.float32)  # small tap, parity of the output, tap
    axis[0, 0, 1] = axis[0, 1, 0] = axis[1, 1, 2] = 1
    return np.einsum("apu,bqv,crw->abcpqruvw", axis, axis, axis).reshape(64, 27)


_TAPS = _small_taps()
