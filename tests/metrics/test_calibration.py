"""Temperature scaling, and the rules for a threshold."""

import numpy as np
import pytest
from sklearn import metrics as skm

from cnnjobs.metrics import calibration

RNG = np.random.default_rng(11)


def test_temperature_1_changes_nothing():
    scores = RNG.random((50, 1)).astype(np.float32)
    assert calibration.scaled(scores, 1.0) is scores


def test_logits_of_two_classes_are_divided_by_the_temperature():
    logits = np.array([-6.0, -1.0, 0.0, 2.0])
    scores = _sigmoid(logits).astype(np.float32)[:, np.newaxis]
    found = calibration.scaled(scores, 2.0)
    assert found.dtype == np.float32
    assert found[:, 0] == pytest.approx(_sigmoid(logits / 2), abs=1e-6)


def test_logits_of_many_classes_are_divided_by_the_temperature():
    logits = RNG.normal(size=(20, 4)) * 3
    found = calibration.scaled(_softmax(logits).astype(np.float32), 1.7)
    assert found == pytest.approx(_softmax(logits / 1.7), abs=1e-6)


def test_scores_of_0_and_1_do_not_become_nan():
    scores = np.array([[0.0], [1.0]], np.float32)
    assert calibration.scaled(scores, 3.0).ravel().tolist() == [0, 1]
    many = np.array([[0, 0, 1], [0.5, 0.5, 0]], np.float32)
    assert calibration.scaled(many, 3.0) == pytest.approx(many)


def test_the_inverse_temperature_reverts_a_scaling():
    scores = RNG.uniform(0.01, 0.99, (50, 1)).astype(np.float32)
    back = calibration.scaled(calibration.scaled(scores, 1.8), 1 / 1.8)
    assert back == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("true", [0.5, 1.5, 4.0])
def test_the_temperature_of_overconfident_scores_is_found(true):
    logits = RNG.normal(size=20_000) * 2
    targets = (RNG.random(20_000) < _sigmoid(logits)).astype(np.int64)
    scores = _sigmoid(logits * true).astype(np.float32)[:, np.newaxis]
    assert calibration.temperature(scores, targets) == pytest.approx(true, rel=0.05)


def test_the_temperature_of_many_classes_has_the_lowest_log_loss():
    logits = RNG.normal(size=(400, 3)) * 2
    targets = np.array([RNG.choice(3, p=row) for row in _softmax(logits)])
    scores = _softmax(logits * 3).astype(np.float32)
    best = calibration.temperature(scores, targets)
    losses = [
        skm.log_loss(targets, calibration.scaled(scores, best * factor))
        for factor in (0.9, 1.0, 1.1)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_without_a_best_temperature_it_is_1():
    targets = np.array([0, 0, 1, 1])
    all_right = np.array([[0.1], [0.4], [0.6], [0.9]], np.float32)
    assert calibration.temperature(all_right, targets) == 1
    all_wrong = 1 - all_right
    assert calibration.temperature(all_wrong, targets) == 1


POSITIVE = np.array([False, False, True, False, True, True])
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9], np.float32)


def test_a_number_is_the_threshold():
    assert calibration.threshold("0.35", SCORES, POSITIVE) == 0.35


def test_youdens_threshold_is_between_the_scores_with_the_largest_index():
    # at 0.8 sensitivity 2/3 and specificity 1, at 0.3 1 and 2/3: the nearer to 0.5 is chosen
    assert calibration.threshold("youden", SCORES, POSITIVE) == pytest.approx((0.4 + 0.8) / 2)


@pytest.mark.parametrize(
    ("sensitivity", "threshold"),
    [("0.3", 0.85), ("0.34", 0.6), ("0.66", 0.6), ("0.67", 0.25), ("0.99", 0.25)],
)
def test_a_required_sensitivity_has_the_highest_threshold_that_reaches_it(sensitivity, threshold):
    found = calibration.threshold(f"sensitivity={sensitivity}", SCORES, POSITIVE)
    assert found == pytest.approx(threshold)


def test_youdens_threshold_is_the_best_on_the_curve_of_scikit_learn():
    positive = RNG.random(300) < 0.4
    scores = np.clip(RNG.normal(0.4 + 0.2 * positive, 0.2), 0, 1).round(2).astype(np.float32)
    found = calibration.threshold("youden", scores, positive)
    false_positive, true_positive, _ = skm.roc_curve(positive, scores, drop_intermediate=False)
    predicted = scores >= found
    index = predicted[positive].mean() - predicted[~positive].mean()
    assert index == pytest.approx((true_positive - false_positive).max())


def test_a_positive_with_the_lowest_score_needs_a_threshold_of_0():
    scores = np.array([0.2, 0.5], np.float32)
    assert calibration.threshold("sensitivity=0.99", scores, np.array([True, False])) == 0


def test_neighboring_floats_are_distinguished():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    found = calibration.threshold("youden", np.array([low, high]), np.array([False, True]))
    assert (np.array([low, high]) >= found).tolist() == [False, True]


def _sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def _softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
