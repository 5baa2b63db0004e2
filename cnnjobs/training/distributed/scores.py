"""Accuracy and AUROC of all rows at once: exact for any number of workers."""

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
    if labels.min() == labels.max():
        return float("nan")
    # 2 to 3 s to import: not before the first step
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))
