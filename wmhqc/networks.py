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
from keras import layers

from wmhqc.layers import DoublingConv, InstanceNorm, MonteCarloDropout

DROPOUT = 0.2  # the paper's rate, after every block


def multiplications(model) -> dict[str, int]:
    """Multiply-adds of each convolution of a network that is not fused, for one volume.

    MC U-net at 128^3 needs 17.0e9. Layers of several steps (`DoublingConv`) are not looked into.
    """
    work = {}
    for layer in model.layers:
        if isinstance(layer, (layers.Conv3D, layers.Conv3DTranspose)):
            # each number of the kernel meets each voxel of the smaller grid once
            grid = layer.input if isinstance(layer, layers.Conv3DTranspose) else layer.output
            work[layer.name] = int(np.prod(layer.kernel.shape)) * int(np.prod(grid.shape[1:4]))
    return work


def mc_unet(size=128, slopes="channel", initializer="he_normal", fused=True):
    """Segmentation network with dropout after every block (Fig. 4a).

    Parameters
    ----------
    size : int
        Edge length n of the input volume in voxels, a multiple of 8.
    slopes : {"channel", "voxel"}
        PReLU slopes: one a channel, or the paper's one a channel *and* voxel, which is
        99.7 % of its 74.8 million parameters and ties the network to one `size`.
    initializer : str or keras initializer
        Kernel initialiser; `"paper"` is N(0, 0.01).  He's learns sooner.
    fused : bool
        False builds the paper's layers one by one, True the same function with `DoublingConv`
        where that is possible (not with one slope a voxel); `copy_weights` moves weights between the two.

    Returns
    -------
    keras.Model
        `(batch, n, n, n, 2)`, T1 and FLAIR in [0, 255], to `(batch, n, n, n, 2)`: softmax probabilities of
        background and lesion.
    """
    unet = _UNet(size, slopes, initializer, fused, MonteCarloDropout, heads=2)
    inputs = keras.Input((size, size, size, 2), name="t1_flair")
    outputs = layers.Activation("softmax", name="probability", dtype="float32")(unet(inputs, outputs=2))
    return keras.Model(inputs, outputs, name="mc_unet")


def rec_unet(size=128, slopes="channel", initializer="he_normal", fused=True):
    """Reconstruction network: FLAIR with blanked lesions in, whole FLAIR out (Fig. 4b).

    The same U-net without dropout, with three channels in its heads and a ReLU at the end.
    Parameters as in `mc_unet`; input and output `(batch, n, n, n, 1)`, intensities in [0, 1].
    """
    unet = _UNet(size, slopes, initializer, fused, dropout=None, heads=3)
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
    """Give `target` the weights of `source`, a network of the same kind, fused or not."""
    values = {_unfused_path(v): v for v in source.trainable_variables}
    for variable in target.trainable_variables:
        variable.assign(values[_unfused_path(variable)])


def _unfused_path(variable):
    """Path of a variable in the network that is not fused: `up8_doubling/norm/gamma` is `up8_double_norm/gamma`."""
    path = variable.path.replace("_doubling/conv/", "_conv/").replace("_doubling/double/", "_double/")
    return path.replace("_doubling/", "_double_")


class _UNet:
    """Builds the graph that MC U-net and Rec U-net share; call it on the input tensor."""

    def __init__(self, size, slopes, initializer, fused, dropout, heads):
        _check_size(size, 8)
        if slopes not in ("channel", "voxel"):
            raise ValueError(f"slopes must be 'channel' or 'voxel', not {slopes!r}")
        self.fused = fused and slopes == "channel"
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
        if self.fused:
            x = DoublingConv(filters, self.initializer, name=f"{name}_doubling")(x)
        else:
            x = layers.Conv3DTranspose(filters, 1, strides=2, kernel_initializer=self.fresh(), name=f"{name}_double")(x)
            x = self.activate(self.normalise(x, f"{name}_double"), f"{name}_double")
            x = self.conv(x, filters, 3, name=f"{name}_conv")
        x = x + self.conv(skip, filters, 3, name=f"{name}_skip", use_bias=False)
        return self.drop(self.activate(self.normalise(x, name), name), name)

    def conv(self, x, filters, kernel, name, strides=1, use_bias=True):
        options = {"strides": strides, "use_bias": use_bias, "padding": "same", "kernel_initializer": self.fresh()}
        return layers.Conv3D(filters, kernel, name=name, **options)(x)

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
