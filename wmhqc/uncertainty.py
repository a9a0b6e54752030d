"""Monte Carlo dropout: N stochastic passes of MC U-net, their mean and their entropy.

The deterministic part of the network, before its first dropout, is the same in every pass, so it is
computed once; the stochastic part runs N times and the statistics are accumulated on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PASSES = 20  # the paper's N


def entropy(probability):
    """Entropy of a lesion probability in bits (Eq. 3): 0 where certain, 1 at one half."""
    p = np.asarray(probability, np.float32)
    tiny = np.finfo(np.float32).tiny  # 0 log 0 is 0
    q = 1 - p
    return -(p * np.log2(np.maximum(p, tiny)) + q * np.log2(np.maximum(q, tiny)))


@dataclass
class MonteCarlo:
    """What N passes say about one volume of n x n x n voxels.

    Attributes
    ----------
    mean : float32 (n, n, n)
        Mean lesion probability (Eq. 2), 0 to 1.
    entropy : float32 (n, n, n)
        Entropy of the mean in bits (Eq. 3): the paper's uncertainty map.
    expected_entropy : float32 (n, n, n)
        Mean of the passes' own entropies in bits.
    variance : float32 (n, n, n)
        Variance of the lesion probability over the passes.
    hard : uint8 (N, ceil(n**3 / 8))
        Each pass' mask p >= 0.5, one bit a voxel (`numpy.packbits`).
    """

    mean: np.ndarray
    entropy: np.ndarray
    expected_entropy: np.ndarray
    variance: np.ndarray
    hard: np.ndarray

    @property
    def passes(self) -> int:
        return len(self.hard)

    @property
    def mask(self) -> np.ndarray:
        """The segmentation: mean >= 0.5."""
        return self.mean >= 0.5

    def samples(self):
        """Yield the N masks as boolean (n, n, n) arrays."""
        for bits in self.hard:
            flat = np.unpackbits(bits, count=self.mean.size)
            yield flat.reshape(self.mean.shape).astype(bool)


def summarise(probabilities) -> MonteCarlo:
    """Summarise lesion probabilities, given one (n, n, n) array at a time.

    `probabilities` may come from dropout, from transformed inputs or from several networks;
    only one is held in memory at a time.
    """
    count = 0
    hard = []
    for p in probabilities:
        p = np.asarray(p, np.float32)
        if count == 0:
            mean, m2, expected = (np.zeros(p.shape, np.float32) for _ in range(3))
        count += 1
        step = p - mean  # Welford's update: stable in float32
        mean += step / count
        m2 += step * (p - mean)
        expected += entropy(p)
        hard.append(np.packbits(p >= 0.5))
    if count == 0:
        raise ValueError("at least one pass is needed, got none")
    mean = np.clip(mean, 0, 1)
    return MonteCarlo(mean, entropy(mean), expected / count, m2 / count, np.stack(hard))


def monte_carlo(model, volume, passes=PASSES, seed=0) -> MonteCarlo:
    """Segment one volume `passes` times with dropout on (Eq. 2 and 3).

    Parameters
    ----------
    model : keras.Model
        An MC U-net (`networks.mc_unet`).
    volume : float32 (n, n, n, 2)
        T1 and FLAIR in [0, 255].
    passes : int
        N, at least 1.
    seed : int
        The same seed gives the same passes on the same machine.
    """
    return summarise(sample(model, volume, passes, seed))


def sample(model, volume, passes=PASSES, seed=0):
    """Yield the lesion probability (n, n, n) of each pass; arguments as in `monte_carlo`."""
    from wmhqc.layers import seed_dropout

    if passes < 1:
        raise ValueError(f"passes must be at least 1, not {passes}")
    expected = model.input_shape[1:]
    if volume.shape != expected:
        raise ValueError(f"the network takes a volume of shape {expected}, not {volume.shape}")
    deterministic, stochastic = _split_at_dropout(model)
    seed_dropout(model, seed)
    fixed = deterministic.predict_on_batch(volume[None])
    for _ in range(passes):
        yield np.asarray(stochastic.predict_on_batch(fixed))[0, ..., 1]


def with_rate(model, rate: float):
    """The same network with another dropout rate (0 to below 1) at every layer; nothing is learnt anew."""
    import keras

    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be at least 0 and below 1, not {rate}")
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    for layer in _dropouts(other):
        layer.rate = rate
    return other


def deal(models, volume, passes=PASSES, seed=0):
    """Yield `passes` passes dealt among several networks, as evenly as they go; arguments as in `monte_carlo`."""
    for i, model in enumerate(models):
        share = passes // len(models) + (i < passes % len(models))
        if share:
            yield from sample(model, volume, share, seed + 7919 * i)


def test_time(model, volume, passes=8, seed=0):
    """Yield the lesion probability of passes over changed inputs: test-time augmentation.

    Each pass mirrors left and right or not, changes the contrast at random
    (`augment.randomise_contrast`), and mirrors the answer back.  Dropout stays on, so this is
    what the changes add to it.  Arguments as in `monte_carlo`.
    """
    from wmhqc.augment import randomise_contrast

    for i in range(passes):
        rng = np.random.default_rng([seed, i])
        step = -1 if i % 2 else 1
        changed = randomise_contrast(volume[::step].copy(), rng)
        for p in sample(model, changed, 1, seed * passes + i):
            yield p[::step]


def ensemble(models, volume, passes=4, seed=0):
    """Yield the lesion probability of `passes` passes of each of several networks."""
    for i, model in enumerate(models):
        yield from sample(model, volume, passes, seed * len(models) + i)


def _dropouts(model):
    from wmhqc.layers import MonteCarloDropout

    return [layer for layer in model.layers if isinstance(layer, MonteCarloDropout)]


def _split_at_dropout(model):
    """The deterministic part, up to the first dropout, and the stochastic part, as two models with shared weights.

    Made once a model and kept on it, since every new Keras model is compiled anew.
    """
    import keras

    from wmhqc.training import jit

    if not hasattr(model, "_monte_carlo_parts"):
        first = _dropouts(model)
        if not first:
            raise ValueError(f"{model.name} has no MonteCarloDropout layer: every pass would agree")
        crossing = [first[0].input, model.get_layer("up8_skip").output]
        deterministic = keras.Model(model.input, crossing)
        stochastic = keras.Model(crossing, model.output)
        for part in (deterministic, stochastic):
            part.compile(jit_compile=jit())
        model._monte_carlo_parts = deterministic, stochastic
    return model._monte_carlo_parts
