"""Numbers on labels and probabilities, with the field's names, edge cases and intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import weighted
from cnnjobs.metrics.bootstrap import Bootstrap, Interval, Statistic, interval, resampled
from cnnjobs.metrics.weighted import Floats


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`values` by name (None where undefined), why they are, and the confusion matrix.

    `confusion[actual][predicted]` counts images. `intervals` (95 %) are empty where none were
    asked for, or refused with the reason in `no_intervals`; `resamples` are what they are of.
    """

    num_images: int
    values: Mapping[str, float | None]
    undefined: str | None
    confusion: Mapping[str, Mapping[str, int]]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None
    resamples: Mapping[str, Floats] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A metric of one minus that of another, with its 95 % interval where there is one."""

    value: float
    interval: Interval | None


def differences(one: Metrics, other: Metrics) -> dict[str, Difference]:
    """How much larger each metric of `one` is, where both have it.

    Of two models on the same images, give both the same bootstrap: the resamples are then pairs.
    Of two sets of images, give each a seed of its own: with one seed for both, the draws would
    go together though the images do not.
    """
    found = {}
    for name, value in one.values.items():
        against = other.values.get(name)
        if value is None or against is None:
            continue
        ends = None
        if name in one.resamples and name in other.resamples:
            ends = interval(one.resamples[name] - other.resamples[name])
        found[name] = Difference(value=value - against, interval=ends)
    return found


def binary(
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    *,
    positive: str,
    negative: str,
    threshold: float,
    prevalence: float | None = None,
    uncalibrated: NDArray[np.float32] | None = None,
    bootstrap: Bootstrap | None = None,
) -> Metrics:
    """Metrics of a two-class model.

    Sensitivity is the share of positives found, specificity the share of negatives not
    accused, PPV and NPV the shares of the two predictions that are right at the prevalence
    seen here; MCC is Matthews' correlation, AUPRC the average precision; Brier score is the
    mean squared error of the probability (Brier 1950), ECE its expected calibration error in
    15 bins of one width (Naeini et al. 2015).

    Args:
        labels: (N,) of `positive` and `negative`.
        probabilities: (N,) of the positive class.
        positive: name of the class that is looked for.
        negative: name of the other class.
        threshold: probability from which on an image counts as positive.
        prevalence: share of positives at which `ppv_at_prevalence` and
            `npv_at_prevalence` are to hold, by Bayes' theorem.
        uncalibrated: the probabilities before a temperature, of which Brier score and ECE are
            given, too.
        bootstrap: how to make intervals.
    """
    actual = np.array([label == positive for label in labels], dtype=bool)
    # in the type they come in: 0.7 as a float32 is not the threshold 0.7
    predicted = np.asarray(probabilities) >= threshold
    wide = np.asarray(probabilities, np.float64)
    raw = np.asarray(uncalibrated, np.float64) if uncalibrated is not None else None

    def statistic(weights: Floats) -> dict[str, Floats]:
        matrix = weighted.confusion(actual.astype(int), predicted.astype(int), weights, 2)
        ranked = weighted.by_score(wide, actual, weights)
        return {
            **weighted.two_class(matrix, prevalence),
            "auroc": weighted.auroc(*ranked),
            "auprc": weighted.auprc(*ranked),
            **_two_class_calibration(wide, actual, weights),
            **_uncalibrated(raw, lambda given: _two_class_calibration(given, actual, weights)),
        }

    both = bool(0 < actual.sum() < len(actual))
    return _measured(
        statistic,
        weighted.confusion(actual.astype(int), predicted.astype(int), _once(actual), 2)[0],
        names=(negative, positive),
        undefined=None if both else _one_class(labels),
        bootstrap=bootstrap,
    )


def multiclass(
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    *,
    names: Sequence[str],
    uncalibrated: NDArray[np.float32] | None = None,
    bootstrap: Bootstrap | None = None,
) -> Metrics:
    """Metrics of a model of more than two classes; the most probable class is predicted.

    `auroc` is the mean over all pairs of classes (Hand and Till 2001), `brier` the squared
    error summed over the classes (Brier 1950, 0 to 2), `ece` that of the predicted class'
    probability; `precision_<name>`, `recall_<name>` and `f1_<name>` are of one class against
    all others, `macro_f1` the mean of the last.

    Args:
        labels: (N,) of `names`.
        probabilities: (N, len(names)), rows sum to 1.
        names: the classes, in the order of the columns.
        uncalibrated: as for `binary`.
        bootstrap: how to make intervals.
    """
    index = {name: position for position, name in enumerate(names)}
    actual = np.array([index[label] for label in labels], dtype=int)
    predicted = np.asarray(probabilities).argmax(axis=1)
    wide = np.asarray(probabilities, np.float64)
    raw = np.asarray(uncalibrated, np.float64) if uncalibrated is not None else None

    def statistic(weights: Floats) -> dict[str, Floats]:
        matrix = weighted.confusion(actual, predicted, weights, len(names))
        return {
            **weighted.many_class(matrix, names),
            "auroc": weighted.auroc_of_pairs(wide, actual, weights),
            **_many_class_calibration(wide, actual, weights),
            **_uncalibrated(raw, lambda given: _many_class_calibration(given, actual, weights)),
        }

    present = set(labels)
    absent = [name for name in names if name not in present]
    return _measured(
        statistic,
        weighted.confusion(actual, predicted, _once(actual), len(names))[0],
        names=names,
        undefined=f"no images of {', '.join(absent)}: no AUROC" if absent else None,
        bootstrap=bootstrap,
    )


def _two_class_calibration(
    wide: Floats, actual: NDArray[np.bool_], weights: Floats
) -> dict[str, Floats]:
    return {
        "brier": weighted.mean((wide - actual) ** 2, weights),
        "ece": weighted.ece(wide, actual, weights),
    }


def _many_class_calibration(
    wide: Floats, actual: NDArray[np.int64], weights: Floats
) -> dict[str, Floats]:
    squares = ((wide - np.eye(wide.shape[1])[actual]) ** 2).sum(axis=1)
    right = wide.argmax(axis=1) == actual
    return {
        "brier": weighted.mean(squares, weights),
        "ece": weighted.ece(wide.max(axis=1), right, weights),
    }


def _uncalibrated(
    raw: Floats | None, measure: Callable[[Floats], Mapping[str, Floats]]
) -> dict[str, Floats]:
    """The same measures of the raw probabilities, if there are any, under names of their own."""
    if raw is None:
        return {}
    return {f"{name}_uncalibrated": value for name, value in measure(raw).items()}


def _measured(
    statistic: Statistic,
    matrix: Floats,
    *,
    names: Sequence[str],
    undefined: str | None,
    bootstrap: Bootstrap | None,
) -> Metrics:
    number = int(matrix.sum())
    values = statistic(np.ones((1, number)))
    drawn = resampled(statistic, bootstrap) if bootstrap is not None else {}
    return Metrics(
        num_images=number,
        values={name: _defined(float(value[0])) for name, value in values.items()},
        undefined=undefined,
        confusion={
            name: dict(zip(names, map(int, row), strict=True))
            for name, row in zip(names, matrix, strict=True)
        },
        intervals={name: interval(values) for name, values in drawn.items()},
        no_intervals=bootstrap.refused if bootstrap is not None else None,
        resamples=drawn,
    )


def _once(images: NDArray[Any]) -> Floats:
    return np.ones((1, len(images)))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _one_class(labels: Sequence[str]) -> str:
    return f"all images are {labels[0]}: no AUROC, AUPRC or MCC" if len(labels) else "no images"
