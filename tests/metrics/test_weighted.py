"""Metrics of weighted images, against scikit-learn and the definition of a bin."""

import numpy as np
import pytest
from sklearn import metrics as skm

from cnnjobs.metrics import weighted


def test_weights_work_like_sample_weights_of_scikit_learn():
    rng = np.random.default_rng(6)
    actual, scores = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 8
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    matrix = weighted.confusion(actual, (scores >= 0.5).astype(int), weights, 2)
    ranked = weighted.by_score(scores, actual == 1, weights)
    found = {
        **weighted.two_class(matrix, None),
        "auroc": weighted.auroc(*ranked),
        "auprc": weighted.auprc(*ranked),
        "brier": weighted.mean((scores - actual) ** 2, weights),
    }
    for row, weight in enumerate(weights):
        expected = {
            "mcc": skm.matthews_corrcoef(actual, scores >= 0.5, sample_weight=weight),
            "f1": skm.f1_score(actual, scores >= 0.5, sample_weight=weight),
            "auroc": skm.roc_auc_score(actual, scores, sample_weight=weight),
            "auprc": skm.average_precision_score(actual, scores, sample_weight=weight),
            "brier": skm.brier_score_loss(actual, scores, sample_weight=weight),
        }
        assert {name: found[name][row] for name in expected} == pytest.approx(expected)


def test_a_calibration_bin_includes_its_lower_edge_and_the_last_one_both():
    one = np.ones((1, 1))
    for edge in range(16):
        confidence = np.array([edge / 15, edge / 15 + 1e-9]).clip(0, 1)
        # one of two images in a bin is correct: the gap is the distance of both from one half
        gap = weighted.ece(confidence, np.array([True, False]), np.ones((1, 2)))
        assert gap[0] == pytest.approx(abs(edge / 15 - 0.5), abs=1e-8)
    assert weighted.ece(np.array([1.0]), np.array([False]), one)[0] == 1
