"""From rows that were scored, with known labels, to numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs import metrics
from cnnjobs.metrics import Bootstrap, Metrics, calibration
from cnnjobs.models.bundle import Bundle

Scores = NDArray[np.float32]


def measure(
    scored: pa.Table,
    bundle: Bundle,
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
) -> Metrics:
    """Metrics of prediction rows that have a label and a score; see `metrics.binary`.

    Where the bundle has a temperature, Brier score and ECE are given without it, too.
    """
    labels = scored["label"].to_pylist()
    probabilities = scores(scored, bundle)
    raw = uncalibrated(probabilities, bundle)
    if bundle.positive is None:
        return metrics.multiclass(
            labels,
            probabilities,
            names=bundle.labels,
            uncalibrated=raw,
            bootstrap=bootstrap,
        )
    negative = next(label for label in bundle.labels if label != bundle.positive)
    return metrics.binary(
        labels,
        probabilities[:, 0],
        positive=bundle.positive,
        negative=negative,
        threshold=bundle.threshold,
        prevalence=prevalence,
        uncalibrated=raw[:, 0] if raw is not None else None,
        bootstrap=bootstrap,
    )


def scores(scored: pa.Table, bundle: Bundle) -> Scores:
    """Probabilities of the rows: (N, 1) of the positive class, or (N, classes)."""
    if bundle.positive is not None:
        return np.asarray(scored["probability"].to_numpy(), np.float32)[:, np.newaxis]
    return np.array(scored["probabilities"].to_pylist(), np.float32)


def uncalibrated(probabilities: Scores, bundle: Bundle) -> Scores | None:
    """What the model gave before its temperature, None where it has none."""
    if bundle.temperature == 1:
        return None
    return calibration.scaled(probabilities, 1 / bundle.temperature)


def most_wrong(scored: pa.Table, bundle: Bundle, number: int) -> Sequence[Mapping[str, Any]]:
    """The wrongly predicted images whose own class is the least probable, that one first.

    Each with its path, label, prediction, and the probability of the prediction.
    """
    labels, predicted = (scored[name].to_pylist() for name in ("label", "prediction"))
    given = of_classes(scored, bundle)
    place = {label: column for column, label in enumerate(bundle.labels)}
    wrong = [row for row, label in enumerate(labels) if label != predicted[row]]
    wrong.sort(key=lambda row: given[row, place[labels[row]]])
    return [
        {
            "path": scored["path"][row].as_py(),
            "label": labels[row],
            "prediction": predicted[row],
            "probability": float(given[row, place[predicted[row]]]),
        }
        for row in wrong[:number]
    ]


def of_classes(scored: pa.Table, bundle: Bundle) -> Scores:
    """Probabilities (N, classes), in the order of the bundle's labels, of two classes as well."""
    given = scores(scored, bundle)
    if bundle.positive is None:
        return given
    other = 1 - given
    return np.hstack([given, other] if bundle.labels[0] == bundle.positive else [other, given])
