"""Intervals by resampling, and differences of resampled metrics."""

import numpy as np
import pytest

from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap
from cnnjobs.metrics.bootstrap import interval, resampled
from tests.metrics.test_classification import NAMES, OF_THREE, THREE


def test_intervals_contain_the_value_and_are_the_same_for_the_same_seed():
    labels, scores = _drawn(200, seed=1)
    by_image = [str(number) for number in range(200)]
    first = _binary(labels, scores, bootstrap=Bootstrap(groups=by_image, resamples=400))
    again = _binary(labels, scores, bootstrap=Bootstrap(groups=by_image, resamples=400))
    other = _binary(labels, scores, bootstrap=Bootstrap(groups=by_image, resamples=400, seed=1))
    assert first == again
    assert first.intervals != other.intervals
    assert first.no_intervals is None
    assert set(first.intervals) == set(first.values)
    for name, (low, high) in first.intervals.items():
        # resampled bins are less even, which biases the calibration error upwards
        assert low < high if name == "ece" else low < first.values[name] < high


def test_resamples_of_a_share_match_the_binomial_distribution():
    # 70 of 100 are correct: resamples are binomial draws with known quantiles
    right = np.r_[np.ones(70), np.zeros(30)]
    found = resampled(
        lambda weights: {"share": weights @ right / 100},
        Bootstrap(groups=[str(number) for number in range(100)], resamples=20_000),
    )
    # scipy.stats.binom(100, 0.7).ppf([0.025, 0.975]) are 61 and 79
    assert interval(found["share"]) == (0.61, 0.79)


def test_images_of_one_group_are_drawn_together():
    labels, scores = _drawn(40, seed=3)
    # 40 groups of 10 copies have no more information than 40 images
    once = Bootstrap(groups=[f"{number:02}" for number in range(40)], resamples=300)
    copies = Bootstrap(groups=[f"{number // 10:02}" for number in range(400)], resamples=300)
    alone = _binary(labels, scores, bootstrap=once)
    together = _binary(
        [label for label in labels for _ in range(10)], scores.repeat(10), bootstrap=copies
    )
    for name, values in alone.resamples.items():
        assert together.resamples[name] == pytest.approx(values)


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (["a"] * 9, "no intervals for 9 images: at least 10 are needed"),
        (["a", "b"] * 10, "no intervals for 2 groups: at least 10 are needed"),
    ],
)
def test_too_few_images_or_groups_have_no_intervals_but_a_reason(groups, reason):
    labels, scores = _drawn(len(groups), seed=2)
    found = _binary(labels, scores, bootstrap=Bootstrap(groups=groups))
    assert (found.intervals, found.no_intervals) == ({}, reason)
    # none were requested
    found = _binary(labels, scores, bootstrap=Bootstrap(groups=groups, resamples=0))
    assert (found.intervals, found.no_intervals) == ({}, None)


def test_a_metric_undefined_in_every_resample_has_no_interval_but_others_do():
    found = _binary(
        ["covid"] * 12,
        np.linspace(0, 1, 12).astype(np.float32),
        bootstrap=Bootstrap(groups=[str(number) for number in range(12)], resamples=50),
    )
    assert found.intervals["auroc"] is None
    assert found.intervals["sensitivity"] is not None


def test_the_difference_of_two_models_on_the_same_images_is_paired():
    labels, scores = _drawn(80, seed=5)
    bootstrap = Bootstrap(groups=[str(number) for number in range(80)], resamples=300)
    # the same ranking of images with other probabilities
    one = _binary(labels, scores, bootstrap=bootstrap)
    other = _binary(labels, scores / 2, bootstrap=bootstrap)
    found = metrics.differences(one, other)
    assert found["auroc"] == metrics.Difference(value=0.0, interval=(0.0, 0.0))
    assert found["brier"].value == pytest.approx(one.values["brier"] - other.values["brier"])
    low, high = found["brier"].interval
    assert low < found["brier"].value < high


def test_the_variance_of_a_difference_between_two_sets_is_the_sum_of_both():
    # 60 and 80 of 100 are correct: their difference has the standard deviation
    # sqrt(0.6 * 0.4 / 100 + 0.8 * 0.2 / 100) = 0.0632
    groups = [f"{number:03}" for number in range(100)]
    one, other = (
        _binary(
            ["covid"] * 100,
            np.r_[np.ones(right), np.zeros(100 - right)].astype(np.float32),
            bootstrap=Bootstrap(groups=groups, resamples=4000, seed=seed),
        )
        for seed, right in ((0, 80), (1, 60))
    )
    found = metrics.differences(one, other)
    assert found["accuracy"].value == pytest.approx(0.2)
    low, high = found["accuracy"].interval
    assert (high - low) / (2 * 1.96) == pytest.approx(0.0632, rel=0.05)
    assert "auroc" not in found


def test_every_metric_of_three_classes_has_an_interval():
    labels, scores = THREE * 4, np.tile(OF_THREE, (4, 1))
    bootstrap = Bootstrap(groups=[str(number) for number in range(24)], resamples=200)
    found = metrics.multiclass(labels, scores, names=NAMES, bootstrap=bootstrap)
    assert set(found.intervals) == set(found.values)
    low, high = found.intervals["auroc"]
    assert low < found.values["auroc"] < high
    # pneumonia is never predicted
    assert found.intervals["precision_pneumonia"] is None


def _binary(labels, scores, *, threshold=0.5, **more):
    return metrics.binary(
        labels, scores, positive="covid", negative="normal", threshold=threshold, **more
    )


def _drawn(number, *, seed):
    """Labels and informative scores, rounded to two decimals for ties."""
    rng = np.random.default_rng(seed)
    actual = rng.random(number) < 0.4
    scores = np.clip(rng.normal(0.4 + 0.2 * actual, 0.2), 0, 1).round(2).astype(np.float32)
    return np.where(actual, "covid", "normal").tolist(), scores
