import numpy as np
import pytest

from wmhqc import networks, regression

SIZE = 16
MAP = np.full((SIZE, SIZE, SIZE), 0.5, "float32")


@pytest.mark.parametrize(
    "name, maps, expected",
    [
        ("image", {"flair": MAP * 255}, 0.5),
        ("uncertainty", {"uncertainty": MAP}, 0.5),
        ("error", {"error": -MAP}, -0.5),
    ],
)
def test_pairs_hold_prediction_and_scaled_map(name, maps, expected):
    pair = regression.pair(name, MAP / 2, **maps)
    assert pair.shape == (SIZE, SIZE, SIZE, 2) and pair.dtype == np.float32
    assert (pair[..., 0] == 0.25).all()
    np.testing.assert_allclose(pair[..., 1], expected)


def test_unknown_pair_and_missing_map():
    with pytest.raises(ValueError, match="image, uncertainty, error"):
        regression.pair("noise", MAP)
    with pytest.raises(ValueError, match="needs its map"):
        regression.pair("error", MAP, flair=MAP)


def test_predicted_dice_is_one_number_that_depends_on_the_pair():
    model = networks.reg_net(SIZE)
    ones, halves = (regression.predict_dice(model, regression.pair("error", m, error=m)) for m in (MAP * 2, MAP))
    assert isinstance(ones, float) and ones != halves
