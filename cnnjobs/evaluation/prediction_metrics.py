"""From prediction rows with labels to metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap, Metrics, calibration
from cnnjobs.models.bundle import Bundle

Probabilities = NDArray[np.float32]


def measure(
    scored: pa.Table,
    bundle: Bundle,
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
    calibrated: bool = False,
) -> Metrics:
    """Metrics of prediction rows that have a label and a score; see `metrics.binary`.

    For a bundle with a temperature, Brier score and ECE are also given without it; for one that
    was calibrated and whose best temperature is 1, only if `calibrated` says so.
    """
    labels = scored["label"].to_pylist()
    scores = probabilities(scored, bundle)
    raw = uncalibrated(scores, bundle)
    if raw is None and calibrated:
        raw = scores
    if bundle.positive is None:
        return metrics.multiclass(
            labels,
            scores,
            names=bundle.labels,
            uncalibrated=raw,
            bootstrap=bootstrap,
        )
    negative = next(label for label in bundle.labels if label != bundle.positive)
    return metrics.binary(
        labels,
        scores[:, 0],
        positive=bundle.positive,
        negative=negative,
        threshold=bundle.threshold,
        prevalence=prevalence,
        uncalibrated=raw[:, 0] if raw is not None else None,
        bootstrap=bootstrap,
    )


def probabilities(scored: pa.Table, bundle: Bundle) -> Probabilities:
    """Probabilities of the rows: (N, 1) of the positive class, or (N, classes)."""
    if bundle.positive is not None:
        return np.asarray(scored["probability"].to_numpy(), np.float32)[:, np.newaxis]
    return np.array(scored["probabilities"].to_pylist(), np.float32)


def uncalibrated(calibrated: Probabilities, bundle: Bundle) -> Probabilities | None:
    """The model's probabilities before its temperature; None without a temperature."""
    if bundle.temperature == 1:
        return None
    return calibration.scaled(calibrated, 1 / bundle.temperature)


def most_wrong(scored: pa.Table, bundle: Bundle, number: int) -> Sequence[Mapping[str, Any]]:
    """The misclassified images whose own class got the lowest probability, lowest first.

    Each with its path, label, prediction, and the probability of the prediction.
    """
    labels, predicted = (scored[name].to_pylist() for name in ("label", "prediction"))
    matrix = class_probabilities(scored, bundle)
    column_of = {label: column for column, label in enumerate(bundle.labels)}
    wrong = [row for row, label in enumerate(labels) if label != predicted[row]]
    wrong.sort(key=lambda row: matrix[row, column_of[labels[row]]])
    return [
        {
            "path": scored["path"][row].as_py(),
            "label": labels[row],
            "prediction": predicted[row],
            "probability": float(matrix[row, column_of[predicted[row]]]),
        }
        for row in wrong[:number]
    ]


def class_probabilities(scored: pa.Table, bundle: Bundle) -> Probabilities:
    """Probabilities (N, classes) in the order of the bundle's labels, for two classes as well."""
    matrix = probabilities(scored, bundle)
    if bundle.positive is None:
        return matrix
    other = 1 - matrix
    return np.hstack([matrix, other] if bundle.labels[0] == bundle.positive else [other, matrix])
