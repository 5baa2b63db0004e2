"""The drawn hospitals and the changes of images that the benchmark of recipes measures with."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import recipes
from benchmarks.hospitals import HOSPITALS, draw
from cnnjobs.config.recipes import RECIPES


def test_every_hospital_has_its_prevalence_and_a_seed_its_bytes():
    drawn = draw(10, seed=1)
    assert drawn == draw(10, seed=1)
    assert drawn != draw(10, seed=2)
    ill = Counter(file.source for file in drawn if file.is_ill)
    assert ill == {name: round(10 * each.prevalence) for name, each in HOSPITALS.items()}


def test_only_the_border_is_left_and_only_16_by_16_pixels_are():
    pixels = np.random.default_rng(0).integers(1, 256, (2, 128, 128, 1), np.uint8)
    border = recipes.border_only(pixels)
    assert not border[:, 16:-16, 16:-16].any()
    np.testing.assert_array_equal(border[:, :16], pixels[:, :16])
    # the same mean in every 8 x 8 pixels, and nothing of what they were
    coarse = recipes.coarse(pixels)
    assert coarse.shape == pixels.shape
    np.testing.assert_allclose(coarse.mean(axis=(1, 2, 3)), pixels.mean(axis=(1, 2, 3)), atol=2)
    assert coarse.std() < pixels.std() / 4


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_is_among_those_measured(name):
    assert RECIPES[name] in recipes.RECIPES.values()
