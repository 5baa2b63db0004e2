"""What a two-class model reaches at other thresholds and prevalences than its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import weighted
from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.exact_intervals import of_prevalence
from cnnjobs.metrics.share_intervals import of_share
from cnnjobs.metrics.weighted import Integers

#: Shares of positives of the curve.
PREVALENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The threshold with the best other share among those that reach `at`.

    It was chosen on the same images, so on new ones it reaches less.
    """

    at: str
    threshold: float
    sensitivity: float
    specificity: float
    sensitivity_interval: Interval | None
    specificity_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class PrevalencePoint:
    """PPV and NPV where so many images are positive, by Bayes' theorem."""

    prevalence: float
    ppv: float | None
    npv: float | None
    ppv_interval: Interval | None
    npv_interval: Interval | None


def operating_points(
    at: Sequence[str],
    scores: NDArray[np.float32],
    positive: NDArray[np.bool_],
    groups: Integers | None,
) -> list[OperatingPoint]:
    """At each least sensitivity or specificity; empty without images of both classes.

    Args:
        at: `sensitivity=SHARE` or `specificity=SHARE`.
        scores: (N,) probabilities.
        positive: (N,) whether each image is positive.
        groups: (N,) number of each image's group; None for no intervals.
    """
    if positive.all() or not positive.any():
        return []
    thresholds = np.unique(scores)
    # nothing is predicted positive above the highest score
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.float32(np.inf)))
    missed, right = (
        np.searchsorted(np.sort(scores[mask]), thresholds) / mask.sum()
        for mask in (positive, ~positive)
    )
    sensitivity, specificity = 1 - missed, right
    points = []
    for each in at:
        kind, _, least = each.partition("=")
        both = (sensitivity, specificity)
        ours, other = both if kind == "sensitivity" else both[::-1]
        enough = np.flatnonzero(ours >= float(least) - 1e-9)
        # of equally good ones that with more of the required share
        best = enough[np.lexsort((ours[enough], other[enough]))[-1]]
        called = scores >= thresholds[best]
        points.append(
            OperatingPoint(
                at=each,
                threshold=float(thresholds[best]),
                sensitivity=float(sensitivity[best]),
                specificity=float(specificity[best]),
                sensitivity_interval=_interval(called, positive, groups),
                specificity_interval=_interval(~called, ~positive, groups),
            )
        )
    return points


def prevalence_curve(
    called: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    groups: Integers | None,
    extra: Sequence[float] = (),
) -> list[PrevalencePoint]:
    """PPV and NPV over the prevalence; empty without images of both classes.

    Args:
        called: (N,) whether each image is predicted positive.
        positive: (N,) whether it is.
        groups: (N,) number of each image's group; None for no intervals.
        extra: prevalences besides `PREVALENCES`.
    """
    if positive.all() or not positive.any():
        return []
    values = [float(called[positive].mean()), float((~called[~positive]).mean())]
    ends = [_interval(called, positive, groups), _interval(~called, ~positive, groups)]
    points = []
    for prevalence in sorted({*PREVALENCES, *extra}):
        sensitivity, specificity = (np.array([value]) for value in values)
        found = weighted.at_prevalence(sensitivity, specificity, prevalence)
        ppv, npv = (float(value[0]) for value in found.values())
        intervals = of_prevalence(values, ends, prevalence)
        points.append(
            PrevalencePoint(
                prevalence=prevalence,
                ppv=None if np.isnan(ppv) else ppv,
                npv=None if np.isnan(npv) else npv,
                ppv_interval=intervals["ppv_at_prevalence"],
                npv_interval=intervals["npv_at_prevalence"],
            )
        )
    return points


def _interval(
    hits: NDArray[np.bool_], among: NDArray[np.bool_], groups: Integers | None
) -> Interval | None:
    return None if groups is None else of_share(hits[among], groups[among])
