import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhqc import networks, uncertainty
from wmhqc.layers import seed_dropout

SIZE = 16


@pytest.fixture(scope="module")
def model():
    return networks.mc_unet(SIZE)


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE, SIZE, 2)).astype("float32")


@pytest.mark.parametrize("p, bits", [(0, 0), (1, 0), (0.5, 1), (0.25, 0.8112781)])
def test_entropy_known_answers(p, bits):
    assert float(uncertainty.entropy(p)) == pytest.approx(bits, abs=1e-6)


@given(st.floats(0, 1))
def test_entropy_is_symmetric_and_at_most_one_bit(p):
    h = float(uncertainty.entropy(np.float32(p)))
    assert 0 <= h <= 1
    assert h == pytest.approx(float(uncertainty.entropy(1 - np.float32(p))), abs=1e-5)


def test_summary_of_two_passes_by_hand():
    a, b = np.zeros((2, 2, 2), "float32"), np.zeros((2, 2, 2), "float32")
    a[0, 0, 0], b[0, 0, 0] = 1.0, 0.5
    mc = uncertainty.summarise([a, b])
    assert mc.mean[0, 0, 0] == 0.75
    assert mc.variance[0, 0, 0] == pytest.approx(0.0625)
    assert mc.entropy[0, 0, 0] == pytest.approx(0.8112781)
    assert mc.expected_entropy[0, 0, 0] == pytest.approx(0.5)
    assert mc.mask.sum() == 1 and mc.mask[0, 0, 0]
    assert [s.sum() for s in mc.samples()] == [1, 1]
    assert mc.mean[1:].sum() == mc.entropy[1:].sum() == 0


def test_summary_equals_numpy():
    p = np.random.default_rng(2).uniform(0, 1, (7, 3, 4, 5)).astype("float32")
    mc = uncertainty.summarise(iter(p))
    np.testing.assert_allclose(mc.mean, p.mean(0), atol=1e-6)
    np.testing.assert_allclose(mc.variance, p.var(0), atol=1e-6)
    np.testing.assert_array_equal(np.stack(list(mc.samples())), p >= 0.5)


def test_the_shared_deterministic_part_gives_what_the_whole_network_gives(model, volume):
    """Same seeds, same dropout masks: a pass in two parts equals a pass of the whole network."""
    in_parts = next(uncertainty.sample(model, volume, 1, seed=3))
    seed_dropout(model, 3)
    whole = np.asarray(model.predict_on_batch(volume[None]))[0, ..., 1]
    np.testing.assert_allclose(in_parts, whole, atol=1e-5)


def test_same_seed_same_passes(model, volume):
    one, two, other = (uncertainty.monte_carlo(model, volume, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.mean, two.mean)
    assert not np.array_equal(one.mean, other.mean)
    assert one.passes == 3


def test_no_two_layers_ever_draw_the_same_mask(model):
    """Also not at different passes, as they would with seeds that lie side by side."""
    seed_dropout(model, 0)
    drawn = {
        tuple(np.asarray(layer.seed_generator.next()).tolist())
        for layer in uncertainty._dropouts(model)
        for _ in range(50)
    }
    assert len(drawn) == 50 * len(uncertainty._dropouts(model)) == 300


def test_passes_differ(model, volume):
    assert uncertainty.monte_carlo(model, volume, 4).variance.max() > 0


def test_a_network_without_dropout_is_refused(volume):
    with pytest.raises(ValueError, match="no MonteCarloDropout"):
        uncertainty.monte_carlo(networks.rec_unet(SIZE), volume[..., :1], 2)


def test_a_wrong_shape_is_refused(model, volume):
    with pytest.raises(ValueError, match="takes a volume of shape"):
        uncertainty.monte_carlo(model, volume[..., :1])


def test_no_passes_are_refused(model, volume):
    with pytest.raises(ValueError, match="at least 1"):
        uncertainty.monte_carlo(model, volume, 0)


def test_another_dropout_rate_changes_the_passes_and_nothing_else(model, volume):
    quiet, loud = (list(uncertainty.sample(uncertainty.with_rate(model, rate), volume, 2)) for rate in (0, 0.5))
    assert np.array_equal(quiet[0], quiet[1]) and not np.array_equal(loud[0], loud[1])
    same = next(uncertainty.sample(uncertainty.with_rate(model, networks.DROPOUT), volume, 1))
    assert same == pytest.approx(next(uncertainty.sample(model, volume, 1)), abs=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1])
def test_an_impossible_dropout_rate_is_refused(model, rate):
    with pytest.raises(ValueError, match="below 1"):
        uncertainty.with_rate(model, rate)
