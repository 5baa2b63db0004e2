"""Numbers on labels and probabilities; scikit-learn's, with names and edge cases of the field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`values` by name (None where undefined), why they are, and the confusion matrix.

    `confusion[actual][predicted]` counts images.
    """

    num_images: int
    values: Mapping[str, float | None]
    undefined: str | None
    confusion: Mapping[str, Mapping[str, int]]


def binary(
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    *,
    positive: str,
    negative: str,
    threshold: float,
) -> Metrics:
    """Metrics of a two-class model.

    Sensitivity is the share of positives found, specificity the share of negatives not
    accused, PPV and NPV the shares of the two predictions that are right at the prevalence
    seen here; AUPRC is the average precision; Brier score is the mean squared error of the
    probability (Brier 1950).

    Args:
        labels: (N,) of `positive` and `negative`.
        probabilities: (N,) of the positive class.
        positive: name of the class that is looked for.
        negative: name of the other class.
        threshold: probability from which on an image counts as positive.
    """
    from sklearn import metrics as skm

    actual = np.array([label == positive for label in labels], dtype=int)
    predicted = (np.asarray(probabilities) >= threshold).astype(int)
    (tn, fp), (fn, tp) = _confusion(actual, predicted, 2).tolist()
    both = 0 < actual.sum() < len(actual)
    sensitivity, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    values: dict[str, float | None] = {
        "accuracy": _share(tp + tn, len(actual)),
        "balanced_accuracy": (
            (sensitivity + specificity) / 2
            if sensitivity is not None and specificity is not None
            else None
        ),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _share(tp, tp + fp),
        "npv": _share(tn, tn + fn),
        "f1": _share(2 * tp, 2 * tp + fp + fn),
        "auroc": float(skm.roc_auc_score(actual, probabilities)) if both else None,
        "auprc": float(skm.average_precision_score(actual, probabilities)) if both else None,
        "brier": (
            float(np.mean((np.asarray(probabilities, np.float64) - actual) ** 2))
            if len(actual)
            else None
        ),
    }
    return Metrics(
        num_images=len(actual),
        values=values,
        undefined=None if both else _one_class(labels),
        confusion={negative: {negative: tn, positive: fp}, positive: {negative: fn, positive: tp}},
    )


def multiclass(
    labels: Sequence[str], probabilities: NDArray[np.float32], *, names: Sequence[str]
) -> Metrics:
    """Metrics of a model of more than two classes; the most probable class is predicted.

    `auroc` is the mean over all pairs of classes (Hand and Till 2001), `recall_<name>` the
    share of that class found.

    Args:
        labels: (N,) of `names`.
        probabilities: (N, len(names)), rows sum to 1.
        names: the classes, in the order of the columns.
    """
    from sklearn import metrics as skm

    index = {name: position for position, name in enumerate(names)}
    actual = np.array([index[label] for label in labels], dtype=int)
    predicted = np.asarray(probabilities).argmax(axis=1)
    matrix = _confusion(actual, predicted, len(names))
    recalls = [_share(int(row[place]), int(row.sum())) for place, row in enumerate(matrix)]
    known = [recall for recall in recalls if recall is not None]
    all_present = len(known) == len(names)
    values: dict[str, float | None] = {
        "accuracy": _share(int(np.trace(matrix)), len(actual)),
        "balanced_accuracy": float(np.mean(known)) if known else None,
        "auroc": (
            float(skm.roc_auc_score(actual, _sum_to_one(probabilities), multi_class="ovo"))
            if all_present
            else None
        ),
        **{f"recall_{name}": recall for name, recall in zip(names, recalls, strict=True)},
    }
    absent = [name for name, recall in zip(names, recalls, strict=True) if recall is None]
    return Metrics(
        num_images=len(actual),
        values=values,
        undefined=None if all_present else f"no images of {', '.join(absent)}: no AUROC",
        confusion={
            name: dict(zip(names, row.tolist(), strict=True))
            for name, row in zip(names, matrix, strict=True)
        },
    )


def _confusion(actual: NDArray[Any], predicted: NDArray[Any], number: int) -> NDArray[np.int64]:
    """Images by actual and predicted class; scikit-learn's refuses none."""
    matrix = np.zeros((number, number), np.int64)
    np.add.at(matrix, (actual, predicted), 1)
    return matrix


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _one_class(labels: Sequence[str]) -> str:
    return f"all images are {labels[0]}: no AUROC or AUPRC" if len(labels) else "no images"


def _sum_to_one(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    # float32 sums miss 1 by more than scikit-learn allows
    wide: NDArray[np.float64] = np.asarray(probabilities, np.float64)
    sums: NDArray[np.float64] = wide.sum(axis=1, keepdims=True)
    return wide / sums
