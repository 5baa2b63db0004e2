"""Metrics of images that count several times, for many weightings at once; pure NumPy.

`weights` is (R, N): how often each of R resamples has each of N images. Every metric is (R,),
NaN where it is undefined. With weights of 1 they are the metrics of the images themselves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: As the model gives them, or wider.
Scores = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

#: Bins of the expected calibration error, as wide as each other.
NUM_BINS = 15


def confusion(actual: Integers, predicted: Integers, weights: Floats, number: int) -> Floats:
    """Images by actual and predicted class, (R, number, number)."""
    cells = np.eye(number * number)[actual * number + predicted]
    counted: Floats = (weights @ cells).reshape(len(weights), number, number)
    return counted


def two_class(matrix: Floats, prevalence: float | None) -> dict[str, Floats]:
    """What a two-class model's confusion says, class 1 being the one that is looked for."""
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
    # Bayes' theorem: of the sick the sensitivity is called sick, of the others 1 - specificity
    found, accused = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    cleared, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return {
        **values,
        "ppv_at_prevalence": ratio(found, found + accused),
        "npv_at_prevalence": ratio(cleared, cleared + missed),
    }


def many_class(matrix: Floats, names: Sequence[str]) -> dict[str, Floats]:
    """What the confusion of a model of any number of classes says, then class by class."""
    right = np.diagonal(matrix, axis1=1, axis2=2)
    actual, called = matrix.sum(axis=2), matrix.sum(axis=1)
    precision, recall = ratio(right, called), ratio(right, actual)
    f1 = ratio(2 * right, actual + called)
    values = {
        "accuracy": ratio(right.sum(axis=1), matrix.sum(axis=(1, 2))),
        "balanced_accuracy": _mean_of_known(recall),
        "macro_f1": _mean_of_known(f1),
        "mcc": mcc(matrix),
    }
    for place, name in enumerate(names):
        values[f"precision_{name}"] = precision[:, place]
        values[f"recall_{name}"] = recall[:, place]
        values[f"f1_{name}"] = f1[:, place]
    return values


def mcc(matrix: Floats) -> Floats:
    """Matthews' correlation of labels and predictions, for any number of classes.

    Gorodkin 2004. 0 where all predictions are of one class, the limit; undefined where all
    labels are.
    """
    total, right = matrix.sum(axis=(1, 2)), np.trace(matrix, axis1=1, axis2=2)
    actual, called = matrix.sum(axis=2), matrix.sum(axis=1)
    covariance = right * total - (actual * called).sum(axis=1)
    spread_actual = total**2 - (actual**2).sum(axis=1)
    spread_called = total**2 - (called**2).sum(axis=1)
    correlation = ratio(covariance, np.sqrt(spread_actual * spread_called))
    return np.where(spread_actual > 0, np.nan_to_num(correlation), np.nan)


def by_score(scores: Scores, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Positives and negatives at each score that occurs, upwards, both (R, scores)."""
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

    Takes what `by_score` gives.
    """
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return ratio((positives * below).sum(axis=1), pairs)


def auprc(positives: Floats, negatives: Floats) -> Floats:
    """Average precision: that at the score of each positive, a mean over the positives.

    Takes what `by_score` gives.
    """
    found = np.cumsum(positives[:, ::-1], axis=1)
    called = found + np.cumsum(negatives[:, ::-1], axis=1)
    precision = np.nan_to_num(ratio(found, called))
    average = ratio((positives[:, ::-1] * precision).sum(axis=1), positives.sum(axis=1))
    return np.where(negatives.sum(axis=1) > 0, average, np.nan)


def auroc_of_pairs(probabilities: Floats, actual: Integers, weights: Floats) -> Floats:
    """Mean AUROC over all pairs of classes, either way round (Hand and Till 2001).

    `probabilities` are (N, classes). Undefined where a class has no image.
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
    """Mean of one value an image."""
    return ratio(weights @ values, weights.sum(axis=1))


def ece(confidence: Floats, right: NDArray[np.bool_], weights: Floats) -> Floats:
    """Expected calibration error in 15 bins of one width (Naeini et al. 2015).

    The distance between mean confidence and share of right images in each bin, a mean over
    the images. A bin has its lower edge, the last one both.
    """
    gaps = np.eye(NUM_BINS)[bin_of(confidence)] * (confidence - right)[:, np.newaxis]
    return ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def bin_of(confidence: Floats) -> Integers:
    """The number of the bin of each image, of those of `ece`."""
    bins: Integers = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return bins


def ratio(part: Floats, whole: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    quotient: Floats = np.divide(part, whole, out=undefined, where=whole > 0)
    return quotient


def _mean_of_known(values: Floats) -> Floats:
    """Mean over the classes (R, classes) in which the value is defined."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1).astype(np.float64))
