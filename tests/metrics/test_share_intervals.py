"""Intervals of shares and of the AUROC: published values, edges, groups, and coverage."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap, share_intervals


@pytest.mark.parametrize(("successes", "number"), [(81, 263), (15, 148), (0, 20), (1, 29), (9, 9)])
def test_the_interval_of_a_share_is_where_half_the_observed_probability_counts(successes, number):
    hits = np.arange(number) < successes
    low, high = share_intervals.of_share(hits, np.arange(number))
    for end, limit, tail in ((low, 0, 0.025), (high, 1, 0.975)):
        if end == limit:
            assert successes == (0 if limit == 0 else number)
            continue
        binomial = stats.binom(number, end)
        above = binomial.sf(successes) + binomial.pmf(successes) / 2
        assert above == pytest.approx(tail, abs=1e-9)


def test_the_interval_of_a_share_equals_the_published_one():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 6: mid-P
    for successes, number, low, high in ((81, 263, 0.2544, 0.3658), (15, 148, 0.0601, 0.1581)):
        found = share_intervals.of_share(np.arange(number) < successes, np.arange(number))
        assert found == pytest.approx((low, high), abs=5e-5)


def test_perfect_results_of_few_images_are_not_certain():
    labels = ["covid"] * 9 + ["normal"] * 9
    scores = np.r_[np.full(9, 0.9), np.full(9, 0.1)].astype(np.float32)
    bootstrap = Bootstrap(groups=[str(number) for number in range(18)])
    found = metrics.binary(
        labels,
        scores,
        positive="covid",
        negative="normal",
        threshold=0.5,
        prevalence=0.1,
        bootstrap=bootstrap,
    )
    low_of_nine = 0.05 ** (1 / 9)
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert found.intervals[name] == pytest.approx((low_of_nine, 1.0))
    for name in ("accuracy", "balanced_accuracy", "f1", "auroc", "npv_at_prevalence"):
        low, high = found.intervals[name]
        assert (low < 0.97, high) == (True, 1.0), name
    # at a prevalence of 10%, a specificity of 0.72 would give a PPV of 0.28
    assert found.intervals["ppv_at_prevalence"] == pytest.approx((0.28, 1.0), abs=0.01)
    # without a formula, resamples that are all equal give no interval
    assert (found.intervals["mcc"], found.intervals["auprc"]) == (None, None)
    # nor is the difference between two perfect sets exactly 0
    drop = metrics.differences(found, found, paired=False)["sensitivity"]
    assert drop.interval == pytest.approx((low_of_nine - 1, 1 - low_of_nine))


def test_perfect_results_of_three_classes_are_not_certain():
    names = ("a", "b", "c")
    labels = [name for name in names for _ in range(8)]
    scores = np.eye(3, dtype=np.float32).repeat(8, axis=0)
    groups = [str(number) for number in range(24)]
    found = metrics.multiclass(labels, scores, names=names, bootstrap=Bootstrap(groups=groups))
    for name in ("accuracy", "balanced_accuracy", "precision_a", "recall_b", "f1_c"):
        assert found.intervals[name][0] < 0.95, name
    assert found.intervals["auroc"] is None


def test_an_auroc_interval_mirrors_that_of_the_reversed_scores():
    rng = np.random.default_rng(0)
    positive = np.arange(60) < 25
    scores = rng.normal(positive * 1.0, 1)
    low, high = share_intervals.of_auroc(scores, positive, np.arange(60))
    assert share_intervals.of_auroc(-scores, positive, np.arange(60)) == pytest.approx(
        (1 - high, 1 - low)
    )
    # Hanley and McNeil's standard error of this AUROC is about 0.06
    assert high - low == pytest.approx(4 * 0.06, abs=0.04)


def test_copies_of_an_image_in_one_group_add_nothing():
    rng = np.random.default_rng(1)
    positive = np.arange(80) < 40
    scores = rng.normal(positive * 1.0, 1)
    hits = scores > 0.5
    alone = np.arange(80)
    for once, copied in (
        (
            share_intervals.of_share(hits, alone),
            share_intervals.of_share(hits.repeat(10), alone.repeat(10)),
        ),
        (
            share_intervals.of_auroc(scores, positive, alone),
            share_intervals.of_auroc(scores.repeat(10), positive.repeat(10), alone.repeat(10)),
        ),
    ):
        assert copied == pytest.approx(once, abs=0.02)
    # also where no image is wrong
    right = np.ones(20, bool)
    assert share_intervals.of_share(right.repeat(10), np.arange(20).repeat(10)) == pytest.approx(
        share_intervals.of_share(right, np.arange(20)), abs=0.03
    )


@pytest.mark.parametrize("case", coverage.TESTED, ids=str)
def test_about_95_of_100_intervals_contain_the_true_value(case):
    # 1,000 samples: a coverage of 95% is measured as 93.6% to 96.4%
    assert 0.925 <= coverage.covered(case, repeats=1000, seed=2) <= 0.995


def test_intervals_of_groups_near_1_are_no_wider_than_they_must_be():
    case = coverage.Case(kind=coverage.SHARE, value=0.98, num_images=100, images_per_patient=2)
    assert 0.93 <= coverage.covered(case, repeats=1000, seed=1) <= 0.97


def test_intervals_hold_where_the_images_of_a_patient_are_nearly_copies():
    case = coverage.Case(
        kind=coverage.SHARE, value=0.95, num_images=200, images_per_patient=5, correlation=0.9
    )
    assert coverage.covered(case, repeats=1000, seed=1) >= 0.93
