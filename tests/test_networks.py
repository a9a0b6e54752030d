import keras
import numpy as np
import pytest

from wmhqc import layers, networks

SIZE = 16


@pytest.fixture(scope="module")
def model():
    return networks.mc_unet(SIZE)


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).uniform(0, 255, (1, SIZE, SIZE, SIZE, 2)).astype("float32")


@pytest.mark.parametrize(
    "network, parameters",
    [
        (networks.mc_unet, 226_604),
        (networks.rec_unet, 226_445),
        (networks.reg_net, 356_945),
        (lambda size: networks.mc_unet(size, slopes="voxel"), 74_806_172),
        (lambda size: networks.rec_unet(size, slopes="voxel"), 74_806_013),
    ],
    ids=["mc_unet", "rec_unet", "reg_net", "mc_unet_voxel", "rec_unet_voxel"],
)
def test_parameter_counts_of_the_paper(network, parameters):
    assert network(128).count_params() == parameters


def test_multiplications_are_those_of_the_convolutions():
    work = networks.multiplications(networks.mc_unet(128, fused=False))
    assert sum(work.values()) == pytest.approx(17.0e9, rel=0.005)
    assert work["stem"] == 27 * 2 * 8 * 128**3, "a 3x3x3 kernel, 2 channels to 8, at every voxel"
    assert work["up8_double"] == 8 * 8 * 64**3 == work["up8_narrow"] // 2, "no work on the zeros in between"


def test_outputs_are_probabilities(model, volume):
    out = np.asarray(model(volume))
    assert out.shape == (1, SIZE, SIZE, SIZE, 2)
    np.testing.assert_allclose(out.sum(-1), 1, atol=1e-5)


WAYS = {
    "call": lambda m, v: m(v),
    "call, training=False": lambda m, v: m(v, training=False),
    "predict": lambda m, v: m.predict(v, verbose=0),
    "predict_on_batch": lambda m, v: m.predict_on_batch(v),
    "evaluate": lambda m, v: m.evaluate(v, np.zeros((1, SIZE, SIZE, SIZE, 1)), verbose=0),
}


def mean_probability(truth, prediction):
    return keras.ops.mean(prediction[..., 1] - truth[..., 0])


def compiled(model):
    model.compile(loss=mean_probability, jit_compile=False)
    return model


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_passes_differ_under_every_way_of_calling(model, volume, way):
    ready = compiled(model)
    first, second = (np.asarray(way(ready, volume)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_passes_differ_after_save_and_load(model, volume, tmp_path):
    model.save(tmp_path / "model.keras")
    again = compiled(keras.models.load_model(tmp_path / "model.keras", compile=False))
    first, second = (again.predict_on_batch(volume) for _ in range(2))
    assert not np.array_equal(first, second)


def test_weights_return_from_disk(model, tmp_path):
    model.save_weights(tmp_path / "w.weights.h5")
    again = networks.mc_unet(SIZE)
    again.load_weights(tmp_path / "w.weights.h5")
    for a, b in zip(model.trainable_weights, again.trainable_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_of_a_batch_draw_different_masks(model, volume):
    out = np.asarray(model(np.repeat(volume, 2, axis=0)))
    assert not np.array_equal(out[0], out[1])


def test_plain_keras_dropout_is_off_in_predict():
    """The trap that MonteCarloDropout exists for; if Keras mends it, this test tells us."""
    x = keras.Input((64,))
    plain = keras.Model(x, keras.layers.Dropout(0.5)(x, training=True))
    assert np.all(plain.predict(np.ones((1, 64)), verbose=0) == 1)


def test_rec_unet_is_deterministic_and_not_negative(volume):
    rec = networks.rec_unet(SIZE)
    first, second = (rec.predict(volume[..., :1], verbose=0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.min() >= 0


def test_instance_norm_known_answer():
    x = np.zeros((1, 2, 2, 2, 1), "float32")
    x[0, 0] = 4  # mean 2, standard deviation 2
    out = np.asarray(layers.InstanceNorm()(x))
    np.testing.assert_allclose(out[0, 0], 2 / 2.001, rtol=1e-5)
    np.testing.assert_allclose(out[0, 1], -2 / 2.001, rtol=1e-5)


@pytest.mark.parametrize("network", [networks.mc_unet, networks.rec_unet])
def test_fused_or_not_is_one_function(network, volume, monkeypatch):
    """Same weights, same numbers, borders included; dropout is switched off for the comparison."""
    monkeypatch.setattr(networks, "DROPOUT", 0.0)
    fused, plain = network(SIZE), network(SIZE, fused=False)
    rng = np.random.default_rng(0)
    for variable in plain.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.1, variable.shape))
    networks.copy_weights(plain, fused)
    x = volume[..., : fused.input_shape[-1]]
    np.testing.assert_allclose(np.asarray(fused(x)), np.asarray(plain(x)), atol=1e-4)


def test_fused_or_not_learns_alike(volume):
    """The same losses over three training steps from the same weights, with dropout off: the gradients agree."""
    from wmhqc import losses

    pair = [networks.mc_unet(SIZE, fused=fused) for fused in (False, True)]
    networks.copy_weights(*pair)
    mask = (volume[..., 1:] > 230).astype("float32")
    found = []
    for model in pair:
        for layer in model.layers:
            if isinstance(layer, layers.MonteCarloDropout):
                layer.rate = 0.0
        model.compile(keras.optimizers.SGD(0.1), losses.two_class_dice_loss, jit_compile=False)
        steps = []
        for _ in range(3):
            model.reset_metrics()  # so that each loss is that of its own step
            steps.append(float(model.train_on_batch(volume, mask)))
        found.append(steps)
    moved = abs(found[0][-1] - found[0][0])
    assert moved > 1e-3
    np.testing.assert_allclose(found[1], found[0], atol=moved / 20)


def test_doubling_conv_equals_its_four_layers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    fused = layers.DoublingConv(3)
    fused.build(x.shape)
    fused.set_weights([rng.normal(size=w.shape) for w in fused.get_weights()])
    plain = fused.conv(fused.prelu(fused.norm(fused.double(x))))
    assert fused(x).shape == plain.shape == fused.compute_output_shape(x.shape)
    np.testing.assert_allclose(np.asarray(fused(x)), np.asarray(plain), rtol=1e-3, atol=1e-3)


def test_kernels_differ_between_layers(model):
    a = model.get_layer("up16_skip").kernel
    b = model.get_layer("down32_conv").kernel
    assert not np.allclose(np.asarray(a).ravel()[:64], np.asarray(b).ravel()[:64])


def test_half_precision_keeps_sums_and_outputs_in_full():
    """The weights fit, the outputs are float32, and a deterministic network answers about the same."""
    flair = np.random.default_rng(1).uniform(0, 1, (1, SIZE, SIZE, SIZE, 1)).astype("float32")
    full = networks.rec_unet(SIZE)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half, segmenting, regression = networks.rec_unet(SIZE), networks.mc_unet(SIZE), networks.reg_net(SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(full.get_weights())
    assert half.get_layer("up8_doubling").compute_dtype == "bfloat16"
    ours, theirs = (np.asarray(model(flair)) for model in (full, half))
    assert theirs.dtype == np.float32 and np.abs(ours - theirs).mean() < 0.02 * max(1, np.abs(ours).max())
    assert all(model.output.dtype == "float32" for model in (half, segmenting, regression))


@pytest.mark.parametrize("network, size", [(networks.mc_unet, 20), (networks.reg_net, 24)])
def test_size_must_fit(network, size):
    with pytest.raises(ValueError, match="multiple of"):
        network(size)


def test_unknown_options():
    with pytest.raises(ValueError, match="'channel' or 'voxel'"):
        networks.mc_unet(16, slopes="pixel")
