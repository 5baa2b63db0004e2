"""The bins of the reliability diagram and their intervals."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from cnnjobs.metrics import reliability, weighted


def test_bins_equal_those_computed_by_hand() -> None:
    confidence = np.array([0.2, 0.25, 0.95, 1.0])
    first, last = reliability.bins(confidence, np.array([True, False, True, True]))
    assert (first.low, first.high) == pytest.approx((3 / 15, 4 / 15))
    assert (first.num_images, first.confidence, first.share) == pytest.approx((2, 0.225, 0.5))
    assert (last.high, last.num_images, last.share) == (1, 2, 1)


def test_bins_equal_scikit_learns_and_their_gaps_add_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.random(300)
    right = rng.random(300) < confidence**2
    bins = reliability.bins(confidence, right)
    shares, means = calibration_curve(right, confidence, n_bins=weighted.NUM_BINS)
    assert [each.share for each in bins] == pytest.approx(shares)
    assert [each.confidence for each in bins] == pytest.approx(means)
    gaps = sum(each.num_images * abs(each.share - each.confidence) for each in bins) / 300
    assert gaps == pytest.approx(weighted.ece(confidence, right, np.ones((1, 300)))[0])


# Newcombe 1998, Statistics in Medicine 17, table I, method 3
@pytest.mark.parametrize(
    ("successes", "number", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_of_a_share_equals_the_published_one(successes, number, interval) -> None:
    assert reliability.wilson(successes, number) == pytest.approx(interval, abs=5e-5)
