"""Metrics of weighted images, for many weightings at once; pure NumPy.

`weights` is (R, N): how often each of R resamples contains each of N images. Every metric is (R,),
NaN where undefined. With weights of 1 it is the metric of the images themselves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: float32, as models compute them, or wider.
Scores = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

#: Bins of the expected calibration error, of equal width.
NUM_BINS = 15


def confusion(actual: Integers, predicted: Integers, weights: Floats, number: int) -> Floats:
    """Images by actual and predicted class, (R, number, number), for `number` classes."""
    cells = np.eye(number * number)[actual * number + predicted]
    counted: Floats = (weights @ cells).reshape(len(weights), number, number)
    return counted


def two_class(matrix: Floats, prevalence: float | None) -> dict[str, Floats]:
    """Metrics of the confusion matrix of two classes; class 1 is the positive one."""
    tn, fp, fn, tp = (matrix[:, row, column] for row in (0, 1) for column in (0, 1))
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    values = {
        "accuracy": ratio(tp + tn, tp + tn + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": mcc(matrix),
    }
    if prevalence is None:
        return values
    return {**values, **at_prevalence(sensitivity, specificity, prevalence)}


def at_prevalence(sensitivity: Floats, specificity: Floats, prevalence: float) -> dict[str, Floats]:
    """PPV and NPV where `prevalence` of the images are positive, by Bayes' theorem."""
    # shares of true and false positives and negatives among all images
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return {
        "ppv_at_prevalence": ratio(true_positive, true_positive + false_positive),
        "npv_at_prevalence": ratio(true_negative, true_negative + false_negative),
    }


def many_class(matrix: Floats, names: Sequence[str]) -> dict[str, Floats]:
    """Metrics of the confusion matrix of any number of classes: over all classes, then of each."""
    correct = np.diagonal(matrix, axis1=1, axis2=2)
    actual, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    precision, recall = ratio(correct, predicted), ratio(correct, actual)
    f1 = ratio(2 * correct, actual + predicted)
    values = {
        "accuracy": ratio(correct.sum(axis=1), matrix.sum(axis=(1, 2))),
        "balanced_accuracy": _mean_of_known(recall),
        "macro_f1": _mean_of_known(f1),
        "mcc": mcc(matrix),
    }
    for index, name in enumerate(names):
        values[f"precision_{name}"] = precision[:, index]
        values[f"recall_{name}"] = recall[:, index]
        values[f"f1_{name}"] = f1[:, index]
    return values


def mcc(matrix: Floats) -> Floats:
    """Matthews' correlation coefficient, for any number of classes (Gorodkin 2004).

    0, the limit, if all predictions are of one class; undefined if all labels are.
    """
    total, correct = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    actual, predicted = matrix.sum(axis=2), matrix.sum(axis=1)
    covariance = correct * total - (actual * predicted).sum(axis=1)
    spread_actual = total**2 - (actual**2).sum(axis=1)
    spread_predicted = total**2 - (predicted**2).sum(axis=1)
    correlation = ratio(covariance, np.sqrt(spread_actual * spread_predicted))
    return np.where(spread_actual > 0, np.nan_to_num(correlation), np.nan)


def by_score(scores: Scores, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Positives and negatives at each distinct score, in ascending order, both (R, scores)."""
    order = np.argsort(scores, kind="stable")
    ascending, is_positive = scores[order], positive[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
    both = weights[:, order]
    if not len(starts):
        return both, both
    positives: Floats = np.add.reduceat(both * is_positive, starts, axis=1)
    return positives, np.add.reduceat(both, starts, axis=1) - positives


def auroc(positives: Floats, negatives: Floats) -> Floats:
    """How often a positive scores above a negative, ties one half (Hanley and McNeil 1982).

    The arguments are the result of `by_score`.
    """
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return ratio((positives * below).sum(axis=1), pairs)


def auprc(positives: Floats, negatives: Floats) -> Floats:
    """Average precision: the mean over the positives of the precision at their scores.

    The arguments are the result of `by_score`.
    """
    true_positives = np.cumsum(positives[:, ::-1], axis=1)
    predicted = true_positives + np.cumsum(negatives[:, ::-1], axis=1)
    precision = np.nan_to_num(ratio(true_positives, predicted))
    average = ratio((positives[:, ::-1] * precision).sum(axis=1), positives.sum(axis=1))
    return np.where(negatives.sum(axis=1) > 0, average, np.nan)


def auroc_of_pairs(probabilities: Floats, actual: Integers, weights: Floats) -> Floats:
    """Mean AUROC over all ordered pairs of classes (Hand and Till 2001).

    `probabilities` are (N, classes). Undefined if a class has no image.
    """
    number = probabilities.shape[1]
    total = np.zeros(len(weights))
    for one in range(number):
        for other in range(number):
            if one == other:
                continue
            pair = np.flatnonzero((actual == one) | (actual == other))
            if not len(pair):
                return np.full(len(weights), np.nan)
            ranked = by_score(probabilities[pair, one], actual[pair] == one, weights[:, pair])
            total += auroc(*ranked)
    average: Floats = total / (number * (number - 1))
    return average


def mean(values: Floats, weights: Floats) -> Floats:
    """Weighted mean of (N,) values."""
    return ratio(weights @ values, weights.sum(axis=1))


def ece(confidence: Floats, correct: NDArray[np.bool_], weights: Floats) -> Floats:
    """Expected calibration error in 15 bins of equal width (Naeini et al. 2015).

    The distance between mean confidence and share of correct images in each bin, averaged over
    the images. A bin includes its lower edge; the last bin includes both.
    """
    gaps = np.eye(NUM_BINS)[bin_of(confidence)] * (confidence - correct)[:, np.newaxis]
    return ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def bin_of(confidence: Floats) -> Integers:
    """The bin of `ece` that each image is in."""
    bins: Integers = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return bins


def ratio(part: Floats, whole: Floats) -> Floats:
    """The quotient; NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    quotient: Floats = np.divide(part, whole, out=undefined, where=whole > 0)
    return quotient


def _mean_of_known(values: Floats) -> Floats:
    """Mean of (R, classes) values over the classes in which they are defined."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1).astype(np.float64))
