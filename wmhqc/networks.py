"""The paper's three networks in Keras 3: MC U-net, Rec U-net and Reg-net.

The two U-nets follow Kayalibay, Jensen and van der Smagt (2017, arXiv:1701.03056): residual
downsampling blocks, skips by concatenation, and segmentation heads at three scales that are
added up.  The paper's Figure 4 shows all three; layer widths, order and constants are those
of the authors' published code.

Volumes are channel-last: `(batch, n, n, n, channels)`.  Under Keras' policy `mixed_bfloat16` means,
variances and outputs stay in float32.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

DROPOUT = 0.2  # the paper's rate, after every block


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
        self.conv = layers.Conv3D(
            filters, 3, padding="same", kernel_initializer=self.initializer.clone(), name="conv"
        )

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
        variance = (
            ops.mean((exact - mean) ** 2, axis=(1, 2, 3), keepdims=True) + 7 * (rest - mean) ** 2
        ) / 8
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


def multiplications(model) -> dict[str, int]:
    """Multiply-adds of each convolution of a network in its plain form, for one volume.

    MC U-net at 128^3 needs 17.0e9. Layers of several steps (`DoublingConv`) are not looked into.
    """
    work = {}
    for layer in model.layers:
        if isinstance(layer, (layers.Conv3D, layers.Conv3DTranspose)):
            # each number of the kernel meets each voxel of the smaller grid once
            grid = layer.input if isinstance(layer, layers.Conv3DTranspose) else layer.output
            work[layer.name] = int(np.prod(layer.kernel.shape)) * int(np.prod(grid.shape[1:4]))
    return work


def mc_unet(size=128, channels=2, slopes="channel", initializer="he_normal", form="fast"):
    """Segmentation network with dropout after every block (Fig. 4a).

    Parameters
    ----------
    size : int
        Edge length n of the input volume in voxels, a multiple of 8.
    channels : int
        Input channels: T1 and FLAIR, intensities in [0, 255].
    slopes : {"channel", "voxel"}
        PReLU slopes: one a channel, or the paper's one a channel *and* voxel, which is
        99.7 % of its 74.8 million parameters and ties the network to one `size`.
    initializer : str or keras initializer
        Kernel initialiser; `"paper"` is N(0, 0.01).  He's learns sooner.
    form : {"fast", "plain"}
        `"plain"` builds the paper's layers one by one, `"fast"` the same function with
        `DoublingConv`; weights move between the two with `copy_weights`.
        One slope a voxel is always plain.

    Returns
    -------
    keras.Model
        `(batch, n, n, n, channels)` to `(batch, n, n, n, 2)`: softmax probabilities of
        background and lesion.
    """
    unet = _UNet(size, slopes, initializer, form, MonteCarloDropout, heads=2)
    inputs = keras.Input((size, size, size, channels), name="t1_flair")
    outputs = layers.Activation("softmax", name="probability", dtype="float32")(unet(inputs, outputs=2))
    return keras.Model(inputs, outputs, name="mc_unet")


def rec_unet(size=128, slopes="channel", initializer="he_normal", form="fast"):
    """Reconstruction network: FLAIR with blanked lesions in, whole FLAIR out (Fig. 4b).

    The same U-net without dropout, with three channels in its heads and a ReLU at the end.
    Parameters as in `mc_unet`; input and output `(batch, n, n, n, 1)`, intensities in [0, 1].
    """
    unet = _UNet(size, slopes, initializer, form, dropout=None, heads=3)
    inputs = keras.Input((size, size, size, 1), name="blanked_flair")
    outputs = layers.Activation("relu", name="flair", dtype="float32")(unet(inputs, outputs=1))
    return keras.Model(inputs, outputs, name="rec_unet")


def reg_net(size=128, output="linear"):
    """Regression network: a pair of maps in, the predicted Dice out (Fig. 4c).

    Parameters
    ----------
    size : int
        Edge length n of the input volume in voxels, a multiple of 16.
    output : {"linear", "sigmoid"}
        As in the paper, or bound to [0, 1].

    Returns
    -------
    keras.Model
        `(batch, n, n, n, 2)` (the mean prediction and one of FLAIR, uncertainty, error; each
        scaled to about [-1, 1]) to `(batch, 1)`.
    """
    _check_size(size, 16)
    inputs = x = keras.Input((size, size, size, 2), name="pair")
    for filters in (16, 32, 64, 128):
        x = layers.Conv3D(filters, 3, padding="same", name=f"conv{filters}")(x)
        x = layers.LeakyReLU(0.3, name=f"leaky{filters}")(x)
        x = layers.MaxPooling3D(2, name=f"pool{filters}")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(1, activation=output, name="dice", dtype="float32")(x), name="reg_net")


def copy_weights(source, target):
    """Give `target` the weights of `source`, a network of the same kind in either form."""
    values = {_plain_path(v): v for v in source.trainable_variables}
    for variable in target.trainable_variables:
        variable.assign(values[_plain_path(variable)])


def _plain_path(variable):
    """Path of a variable in the plain form: `up8_doubling/norm/gamma` is `up8_double_norm/gamma`."""
    path = variable.path.replace("_doubling/conv/", "_conv/").replace("_doubling/double/", "_double/")
    return path.replace("_doubling/", "_double_")


class _UNet:
    """Builds the graph that MC U-net and Rec U-net share; call it on the input tensor."""

    def __init__(self, size, slopes, initializer, form, dropout, heads):
        _check_size(size, 8)
        if slopes not in ("channel", "voxel"):
            raise ValueError(f"slopes must be 'channel' or 'voxel', not {slopes!r}")
        if form not in ("fast", "plain"):
            raise ValueError(f"form must be 'fast' or 'plain', not {form!r}")
        self.fast = form == "fast" and slopes == "channel"
        self.shared_axes = (1, 2, 3) if slopes == "channel" else None
        if initializer == "paper":
            initializer = keras.initializers.RandomNormal(stddev=0.01)
        self.initializer = keras.initializers.get(initializer)
        self.dropout = dropout
        self.heads = heads

    def __call__(self, inputs, outputs):
        stem = self.normalise(self.conv(inputs, 8, 3, name="stem"), "stem")
        skip8 = self.activate(stem, "stem")
        skip16 = self.down(stem, 16)  # from the stem before its activation, as published
        skip32 = self.down(skip16, 32)
        up32 = self.up(self.down(skip32, 64), skip32, 32)
        up16 = self.up(up32, skip16, 16)
        up8 = self.up(up16, skip8, 8)
        sum16 = self.double(self.head(up32, "head32"), "head32") + self.head(up16, "head16")
        sum8 = self.double(sum16, "head16") + self.head(up8, "head8")
        return self.conv(sum8, outputs, 1, name="output")

    def down(self, x, filters):
        """Halve the grid: a strided 1x1x1 convolution and a residual 3x3x3 one."""
        name = f"down{filters}"
        shortcut = self.conv(x, filters, 1, strides=2, name=f"{name}_stride")
        x = self.activate(self.normalise(shortcut, f"{name}_stride"), f"{name}_stride")
        x = shortcut + self.conv(x, filters, 3, name=f"{name}_conv")
        return self.drop(self.activate(self.normalise(x, name), name), name)

    def up(self, x, skip, filters):
        """Double the grid by a 1x1x1 transposed convolution and join the skip.

        The paper's 3x3x3 convolution of the two joined along channels is written as the sum
        of a convolution of each: Monte Carlo passes can then share that of a skip without
        dropout.
        """
        name = f"up{filters}"
        x = self.conv(x, filters, 1, name=f"{name}_narrow")
        x = self.activate(self.normalise(x, f"{name}_narrow"), f"{name}_narrow")
        if self.fast:
            x = DoublingConv(filters, self.initializer, name=f"{name}_doubling")(x)
        else:
            x = layers.Conv3DTranspose(
                filters, 1, strides=2, kernel_initializer=self.fresh(), name=f"{name}_double"
            )(x)
            x = self.activate(self.normalise(x, f"{name}_double"), f"{name}_double")
            x = self.conv(x, filters, 3, name=f"{name}_conv")
        x = x + self.conv(skip, filters, 3, name=f"{name}_skip", use_bias=False)
        return self.drop(self.activate(self.normalise(x, name), name), name)

    def conv(self, x, filters, kernel, name, strides=1, use_bias=True):
        return layers.Conv3D(
            filters,
            kernel,
            strides=strides,
            use_bias=use_bias,
            padding="same",
            kernel_initializer=self.fresh(),
            name=name,
        )(x)

    def fresh(self):
        """A new copy of the initialiser: a shared one would give equal kernels."""
        return self.initializer.clone()

    def normalise(self, x, name):
        return InstanceNorm(name=f"{name}_norm")(x)

    def activate(self, x, name):
        return layers.PReLU(shared_axes=self.shared_axes, name=f"{name}_prelu")(x)

    def drop(self, x, name):
        return self.dropout(DROPOUT, name=f"{name}_dropout")(x) if self.dropout else x

    def head(self, x, name):
        return self.conv(x, self.heads, 1, name=name)

    def double(self, x, name):
        return layers.UpSampling3D(2, name=f"{name}_double")(x)


def _check_size(size, multiple):
    if size < multiple or size % multiple:
        raise ValueError(f"size must be a positive multiple of {multiple}, not {size}")
