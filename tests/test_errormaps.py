import numpy as np
import pytest

from wmhqc import errormaps, networks

SIZE = 16


class Echo:
    """A network that returns its input."""

    @staticmethod
    def predict_on_batch(x):
        return x


@pytest.fixture
def flair():
    return np.random.default_rng(0).uniform(0.1, 1, (SIZE, SIZE, SIZE)).astype("float32")


def test_blank_sets_zeros_in_the_mask_only(flair):
    mask = flair > 0.9
    blanked = errormaps.blank(flair, mask)
    assert (blanked[mask] == 0).all()
    np.testing.assert_array_equal(blanked[~mask], flair[~mask])


def test_error_of_a_network_that_fills_nothing_is_the_lesion_itself(flair):
    mask = flair > 0.9
    error = errormaps.error_map(Echo, flair, mask)
    np.testing.assert_array_equal(error, flair * mask)


def test_error_is_scan_minus_reconstruction(flair):
    model = networks.rec_unet(SIZE)
    mask = flair > 0.9
    rebuilt = errormaps.reconstruct(model, flair, mask)
    assert rebuilt.shape == flair.shape and rebuilt.min() >= 0
    np.testing.assert_allclose(errormaps.error_map(model, flair, mask), flair - rebuilt, atol=1e-6)


def test_the_error_map_depends_on_the_segmentation(flair):
    model = networks.rec_unet(SIZE)
    one, other = (errormaps.error_map(model, flair, flair > t) for t in (0.9, 0.5))
    assert not np.array_equal(one, other)


def test_shapes_must_agree(flair):
    with pytest.raises(ValueError, match="expected the same"):
        errormaps.blank(flair, np.zeros((2, 2, 2)))
