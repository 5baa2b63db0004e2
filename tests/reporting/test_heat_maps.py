"""Heat maps lie over the part of an image that the model sees, in its own aspect."""

import numpy as np
import pytest

from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.reporting import heat_maps


@pytest.mark.parametrize(
    ("settings", "rows", "columns"),
    [
        ({}, (0, 40), (0, 100)),
        ({"square": True}, (0, 40), (30, 70)),
        ({"crop": 0.1}, (4, 36), (10, 90)),
        ({"crop": 0.1, "square": True}, (4, 36), (34, 66)),
    ],
)
def test_heat_is_where_the_model_sees_the_image(settings, rows, columns):
    gray = np.full((40, 100), 80, np.uint8)
    found = heat_maps.over(
        gray, np.ones((8, 8), np.float32), Preprocessing(height=8, width=8, **settings)
    )
    seen = np.zeros((40, 100), bool)
    seen[slice(*rows), slice(*columns)] = True

    assert found.shape == (40, 100, 3)
    is_colored = found.max(axis=2) > found.min(axis=2)
    np.testing.assert_array_equal(is_colored, seen)
    # what the model does not see is dark
    assert (found[~seen] == 40).all()


def test_heat_of_a_square_is_not_stretched():
    gray = np.zeros((60, 200), np.uint8)
    heat = np.zeros((6, 6), np.float32)
    heat[2:4, 2:4] = 1
    preprocessing = Preprocessing(height=6, width=6, square=True)
    hot = heat_maps.over(gray, heat, preprocessing).max(axis=2) > 100
    rows, columns = (np.flatnonzero(hot.any(axis=axis)) for axis in (1, 0))
    assert len(rows) == len(columns)
    assert (rows.mean(), columns.mean()) == pytest.approx((29.5, 99.5), abs=1)
