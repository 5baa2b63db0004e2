"""The points of the curves and their bands."""

import numpy as np
import pytest
from sklearn import metrics as skm

from cnnjobs.metrics import Bootstrap, curves

#: Positives at 0.9 0.8 0.4, negatives at 0.6 0.4 0.1: one tie.
SCORES = np.array([0.9, 0.8, 0.4, 0.6, 0.4, 0.1], np.float32)
POSITIVE = np.array([True, True, True, False, False, False])


def test_the_roc_curve_equals_one_computed_by_hand() -> None:
    curve = curves.roc(SCORES, POSITIVE)
    assert curve.x == pytest.approx([0, 0, 0, 1 / 3, 2 / 3, 1])
    assert curve.y == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert curve.band is None


def test_the_precision_recall_curve_equals_one_computed_by_hand() -> None:
    curve = curves.precision_recall(SCORES, POSITIVE)
    # thresholds 0.9, 0.8, 0.6, 0.4 and 0.1
    assert curve.x == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert curve.y == pytest.approx([1, 1, 2 / 3, 3 / 5, 3 / 6])


def test_net_benefit_equals_that_computed_by_hand() -> None:
    found = curves.decision(SCORES, POSITIVE)
    at = {round(float(x), 2): index for index, x in enumerate(found.model.x)}
    # at 0.2 all three sick and two others are treated; odds 1 to 4
    assert found.model.y[at[0.2]] == pytest.approx(3 / 6 - 2 / 6 / 4)
    # at 0.5 two sick and one other; odds 1 to 1
    assert found.model.y[at[0.5]] == pytest.approx(2 / 6 - 1 / 6)
    # a score equal to the threshold 0.9 is treated, and none is above
    assert found.model.y[at[0.9]] == pytest.approx(1 / 6)
    assert found.model.y[at[0.95]] == 0
    assert found.treat_all[at[0.2]] == pytest.approx(1 / 2 - 1 / 2 / 4)
    assert found.treat_all[at[0.5]] == pytest.approx(0)


def test_net_benefit_at_another_prevalence_reweights_the_classes() -> None:
    found = curves.decision(SCORES, POSITIVE, prevalence=0.1)
    # 10 of 100 are sick: at 0.5, 2/3 of them and 1/3 of the 90 others are treated
    assert found.model.y[49] == pytest.approx(0.1 * 2 / 3 - 0.9 / 3)
    assert found.treat_all[49] == pytest.approx(0.1 - 0.9)
    same = curves.decision(SCORES, POSITIVE, prevalence=0.5)
    assert same.model.y == pytest.approx(curves.decision(SCORES, POSITIVE).model.y)


def test_the_curves_equal_those_of_scikit_learn() -> None:
    positive, scores = _drawn(150)
    rates, found, _ = skm.roc_curve(positive, scores, drop_intermediate=False)
    curve = curves.roc(scores, positive)
    assert curve.x == pytest.approx(rates)
    assert curve.y == pytest.approx(found)
    precision, recall, _ = skm.precision_recall_curve(positive, scores)
    curve = curves.precision_recall(scores, positive)
    # scikit-learn returns them in descending order, with a point at recall 0
    assert curve.x == pytest.approx(recall[-2::-1])
    assert curve.y == pytest.approx(precision[-2::-1])
    area = np.sum(np.diff(curve.x, prepend=0) * curve.y)
    assert area == pytest.approx(skm.average_precision_score(positive, scores))


@pytest.mark.parametrize("kind", [curves.roc, curves.precision_recall, curves.decision])
def test_a_band_surrounds_its_curve_and_is_the_same_for_the_same_seed(kind) -> None:
    positive, scores = _drawn(150)
    bootstrap = Bootstrap(groups=[str(number) for number in range(150)], resamples=200)
    first, again = (_line(kind(scores, positive, bootstrap=bootstrap)) for _ in range(2))
    assert np.array_equal(first.band.low, again.band.low)
    assert np.all(first.band.low <= first.band.high)
    middle = np.interp(first.band.x, first.x, first.y)
    inside = (first.band.low - 0.02 <= middle) & (middle <= first.band.high + 0.02)
    assert inside.mean() > 0.9
    assert (first.band.high - first.band.low).max() > 0.05


def test_copies_of_images_in_a_group_do_not_narrow_a_band() -> None:
    positive, scores = _drawn(40)
    groups = [f"{number:02}" for number in range(40)]
    alone = curves.roc(scores, positive, Bootstrap(groups=groups, resamples=200))
    together = curves.roc(
        scores.repeat(5),
        positive.repeat(5),
        Bootstrap(groups=[group for group in groups for _ in range(5)], resamples=200),
    )
    assert together.band.low == pytest.approx(alone.band.low)
    assert together.band.high == pytest.approx(alone.band.high)


def test_too_few_groups_have_no_band() -> None:
    bootstrap = Bootstrap(groups=["a", "b"] * 3)
    assert curves.roc(SCORES, POSITIVE, bootstrap).band is None
    assert curves.decision(SCORES, POSITIVE, bootstrap=bootstrap).model.band is None


def _line(curve):
    return curve.model if isinstance(curve, curves.DecisionCurve) else curve


def _drawn(number):
    """Which images are positive, and informative scores with ties."""
    rng = np.random.default_rng(7)
    positive = rng.random(number) < 0.4
    scores = np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1).round(2).astype(np.float32)
    return positive, scores
