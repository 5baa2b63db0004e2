"""Accuracy and AUROC of all rows at once: pure numpy, exact for any number of workers."""

import numpy as np
from numpy.typing import NDArray


def accuracy(labels: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
    """Return the share of rows whose predicted class is the label.

    `labels` is (N,), `scores` (N, 1) with the threshold 0.5, or (N, classes).
    """
    predicted = scores[:, 0] > 0.5 if scores.shape[1] == 1 else scores.argmax(axis=1)
    return float(np.mean(predicted == labels))


def auroc(labels: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
    """Return the probability that a positive row scores above a negative one, ties one half.

    `labels` is (N,) of 0 and 1, `scores` (N,). NaN where one of the classes is absent.
    """
    positive = labels == 1
    num_positive = int(positive.sum())
    num_negative = len(labels) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
