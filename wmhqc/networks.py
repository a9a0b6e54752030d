"""The paper's three networks in Keras 3: MC U-net, Rec U-net and Reg-net.

The two U-nets follow Kayalibay, Jensen and van der Smagt (2017, arXiv:1701.03056): residual
downsampling blocks, skips by concatenation, and segmentation heads at three scales that are
added up.  The paper's Figure 4 shows all three; layer widths, order and constants are those
of the authors' published code.

Volumes are channel-last: `(batch, n, n, n, channels)`.
"""

from __future__ import annotations

import keras
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
        mean, variance = ops.moments(x, axes=(1, 2, 3), keepdims=True)
        # one multiplication and one addition a voxel, instead of four operations
        scale = self.gamma / (ops.sqrt(variance) + 1e-3)
        return x * scale + (self.beta - mean * scale)


@keras.saving.register_keras_serializable("wmhqc")
class MonteCarloDropout(layers.Dropout):
    """Dropout that is on in training and at test time alike.

    `layers.Dropout(rate)(x, training=True)` in a functional model is *not* enough: Keras 3
    switches it off in `predict`, `evaluate` and `model(x, training=False)`, and every Monte
    Carlo pass would silently give the same answer.
    """

    def call(self, x, training=None):
        return super().call(x, training=True)


def mc_unet(size=128, channels=2, slopes="channel", initializer="he_normal"):
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

    Returns
    -------
    keras.Model
        `(batch, n, n, n, channels)` to `(batch, n, n, n, 2)`: softmax probabilities of
        background and lesion.
    """
    unet = _UNet(size, slopes, initializer, MonteCarloDropout, heads=2)
    inputs = keras.Input((size, size, size, channels), name="t1_flair")
    outputs = layers.Activation("softmax", name="probability")(unet(inputs, outputs=2))
    return keras.Model(inputs, outputs, name="mc_unet")


def rec_unet(size=128, slopes="channel", initializer="he_normal"):
    """Reconstruction network: FLAIR with blanked lesions in, whole FLAIR out (Fig. 4b).

    The same U-net without dropout, with three channels in its heads and a ReLU at the end.
    Parameters as in `mc_unet`; input and output `(batch, n, n, n, 1)`, intensities in [0, 1].
    """
    unet = _UNet(size, slopes, initializer, dropout=None, heads=3)
    inputs = keras.Input((size, size, size, 1), name="blanked_flair")
    outputs = layers.Activation("relu", name="flair")(unet(inputs, outputs=1))
    return keras.Model(inputs, outputs, name="rec_unet")


def reg_net(size=128):
    """Regression network: a pair of maps in, the predicted Dice out (Fig. 4c).

    Parameters
    ----------
    size : int
        Edge length n of the input volume in voxels, a multiple of 16.

    Returns
    -------
    keras.Model
        `(batch, n, n, n, 2)` (the mean prediction and one of FLAIR, uncertainty, error; each
        scaled to about [-1, 1]) to `(batch, 1)`.  The output is linear, as in the paper, so
        it is not bound to [0, 1].
    """
    _check_size(size, 16)
    inputs = x = keras.Input((size, size, size, 2), name="pair")
    for filters in (16, 32, 64, 128):
        x = layers.Conv3D(filters, 3, padding="same", name=f"conv{filters}")(x)
        x = layers.LeakyReLU(0.3, name=f"leaky{filters}")(x)
        x = layers.MaxPooling3D(2, name=f"pool{filters}")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(1, name="dice")(x), name="reg_net")


class _UNet:
    """Builds the graph that MC U-net and Rec U-net share; call it on the input tensor."""

    def __init__(self, size, slopes, initializer, dropout, heads):
        _check_size(size, 8)
        if slopes not in ("channel", "voxel"):
            raise ValueError(f"slopes must be 'channel' or 'voxel', not {slopes!r}")
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
        """Double the grid by a 1x1x1 transposed convolution and join the skip."""
        name = f"up{filters}"
        x = self.conv(x, filters, 1, name=f"{name}_narrow")
        x = self.activate(self.normalise(x, f"{name}_narrow"), f"{name}_narrow")
        x = layers.Conv3DTranspose(
            filters, 1, strides=2, kernel_initializer=self.fresh(), name=f"{name}_double"
        )(x)
        x = self.activate(self.normalise(x, f"{name}_double"), f"{name}_double")
        x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = self.normalise(self.conv(x, filters, 3, name=f"{name}_conv"), name)
        return self.drop(self.activate(x, name), name)

    def conv(self, x, filters, kernel, name, strides=1):
        return layers.Conv3D(
            filters,
            kernel,
            strides=strides,
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
