"""Metrics of labels and probabilities, with their edge cases and intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import exact_intervals, share_intervals, weighted
from cnnjobs.metrics.bootstrap import Bootstrap, Interval, Statistic, interval, resampled
from cnnjobs.metrics.weighted import Floats, Integers

#: From the number of each image's group to intervals by name of metric.
_Exact = Callable[[Integers], Mapping[str, Interval | None]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`values` by name, None if undefined for the reason in `undefined`; the confusion matrix.

    `confusion[actual][predicted]` counts images. `intervals` (95%) of shares and of the AUROC are
    those of `exact_intervals`, the others the quantiles of `resamples`, None if all resamples are
    equal; they are empty if not requested, or refused for the reason in `no_intervals`.
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
    """A metric of one model or set minus that of another, with its 95% interval if known."""

    value: float
    interval: Interval | None


def differences(one: Metrics, other: Metrics, *, paired: bool = True) -> dict[str, Difference]:
    """How much larger each metric of `one` is, if both define it.

    For two models on the same images, use the same bootstrap for both: the resamples are then
    paired. For two sets of images, use different seeds: the draws would otherwise be correlated
    although the images are not.

    Args:
        one: of one model or set.
        other: of another.
        paired: whether the images are the same; if not, intervals that contain their metric are
            combined (Newcombe 1998, method 10), so that a difference between two perfect results
            is not exact.
    """
    found = {}
    for name, value in one.values.items():
        other_value = other.values.get(name)
        if value is None or other_value is None:
            continue
        of_difference = None if paired else _unpaired(name, one, other)
        if of_difference is None and name in one.resamples and name in other.resamples:
            of_difference = interval(one.resamples[name] - other.resamples[name])
        found[name] = Difference(value=value - other_value, interval=of_difference)
    return found


def _unpaired(name: str, one: Metrics, other: Metrics) -> Interval | None:
    ends = [each.intervals.get(name) for each in (one, other)]
    values = [each.values[name] or 0.0 for each in (one, other)]
    if any(end is None or not end[0] <= at <= end[1] for end, at in zip(ends, values, strict=True)):
        return None
    (low, high), (other_low, other_high) = [end for end in ends if end is not None]
    return share_intervals.combined(
        lambda mine, negated: mine + negated,
        [values[0], -values[1]],
        [(low, high), (-other_high, -other_low)],
        (-math.inf, math.inf),
    )


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

    Sensitivity is the share of positives that are predicted positive, specificity the share of
    negatives that are predicted negative. PPV and NPV are the shares of positive and negative
    predictions that are correct at the prevalence of these images. MCC is Matthews' correlation
    coefficient, AUPRC the average precision. The Brier score is the mean squared error of the
    probability (Brier 1950), ECE its expected calibration error in 15 bins of equal width
    (Naeini et al. 2015).

    Args:
        labels: (N,) of `positive` and `negative`.
        probabilities: (N,) of the positive class.
        positive: name of the positive class.
        negative: name of the other class.
        threshold: lowest probability that is predicted positive.
        prevalence: share of positives for which to compute `ppv_at_prevalence` and
            `npv_at_prevalence`, by Bayes' theorem.
        uncalibrated: the probabilities before temperature scaling; adds their Brier score and ECE.
        bootstrap: how to compute intervals.
    """
    actual = np.array([label == positive for label in labels], dtype=bool)
    # compared in their own type: 0.7 as a float32 is not the threshold 0.7
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
            **_uncalibrated(raw, lambda scores: _two_class_calibration(scores, actual, weights)),
        }

    def exact(groups: Integers) -> Mapping[str, Interval | None]:
        return exact_intervals.of_two_classes(actual, predicted, wide, groups, prevalence)

    has_both = bool(0 < actual.sum() < len(actual))
    return _measured(
        statistic,
        exact,
        weighted.confusion(actual.astype(int), predicted.astype(int), _once(actual), 2)[0],
        names=(negative, positive),
        undefined=None if has_both else _one_class(labels),
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
    """Metrics of a model with more than two classes; the most probable class is predicted.

    `auroc` is the mean over all pairs of classes (Hand and Till 2001), `brier` the squared error
    summed over the classes (Brier 1950, 0 to 2), `ece` that of the probability of the predicted
    class. `precision_<name>`, `recall_<name>` and `f1_<name>` are of one class against all others,
    and `macro_f1` is the mean F1 score over the classes.

    Args:
        labels: (N,) of `names`.
        probabilities: (N, len(names)), rows sum to 1.
        names: the classes, in the order of the columns.
        uncalibrated: as for `binary`.
        bootstrap: how to compute intervals.
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
            **_uncalibrated(raw, lambda scores: _many_class_calibration(scores, actual, weights)),
        }

    def exact(groups: Integers) -> Mapping[str, Interval | None]:
        return exact_intervals.of_many_classes(actual, predicted, names, groups)

    present = set(labels)
    absent = [name for name in names if name not in present]
    return _measured(
        statistic,
        exact,
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
    """Calibration metrics of the raw probabilities, if any, under names with `_uncalibrated`."""
    if raw is None:
        return {}
    return {f"{name}_uncalibrated": value for name, value in measure(raw).items()}


def _measured(
    statistic: Statistic,
    exact: _Exact,
    matrix: Floats,
    *,
    names: Sequence[str],
    undefined: str | None,
    bootstrap: Bootstrap | None,
) -> Metrics:
    number = int(matrix.sum())
    values = statistic(np.ones((1, number)))
    resamples = resampled(statistic, bootstrap) if bootstrap is not None else {}
    return Metrics(
        num_images=number,
        values={name: _defined(float(value[0])) for name, value in values.items()},
        undefined=undefined,
        confusion={
            name: dict(zip(names, map(int, row), strict=True))
            for name, row in zip(names, matrix, strict=True)
        },
        intervals=_intervals(resamples, exact, bootstrap),
        no_intervals=bootstrap.refused if bootstrap is not None else None,
        resamples=resamples,
    )


def _intervals(
    resamples: Mapping[str, Floats], exact: _Exact, bootstrap: Bootstrap | None
) -> dict[str, Interval | None]:
    """Exact intervals where there are any; others from resamples, None if those are all equal."""
    if bootstrap is None or not resamples:
        return {}
    found = {name: interval(values) for name, values in resamples.items()}
    equal = {name: None for name, ends in found.items() if ends is not None and ends[0] == ends[1]}
    return {**found, **equal, **exact(bootstrap.group_of)}


def _once(images: NDArray[Any]) -> Floats:
    return np.ones((1, len(images)))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _one_class(labels: Sequence[str]) -> str:
    return f"all images are {labels[0]}: no AUROC, AUPRC or MCC" if len(labels) else "no images"
