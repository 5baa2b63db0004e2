"""The mean of a metric over repeated splits, with an interval that allows for shared images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric over several trainings: mean, standard deviation and 95% interval of the mean.

    `num` is the number of trainings in which the metric is defined: without any there is no
    `mean`, a single one has no `sd` and no interval, and equal values have no interval.
    `undefined` says why something is missing, or in how many trainings the metric is.
    """

    num: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    undefined: str | None = None


def estimate(
    values: Sequence[float],
    *,
    test_share: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    undefined: str | None = None,
) -> Estimate:
    """The corrected resampled t interval of Nadeau and Bengio (2003), doi 10.1023/A:1024068626366.

    Trainings on folds share most of their images, so their results vary less than they would on
    new data. The variance of the mean of J results is therefore not s²/J but (1/J + test/train) s²,
    with the numbers of test and training images; for repeated folds as in Bouckaert and
    Frank (2004).

    Args:
        values: one per training in which the metric is defined.
        test_share: test images per training image.
        bounds: of the metric; they also limit the interval.
        undefined: why other trainings do not define the metric.
    """
    num, mean = len(values), float(np.mean(values)) if len(values) else None
    if mean is None or num < 2:
        return Estimate(num=num, mean=mean, sd=None, low=None, high=None, undefined=undefined)
    if min(values) == max(values):
        reason = undefined or f"{num} equal values: there is no variance for an interval"
        return Estimate(num=num, mean=values[0], sd=0.0, low=None, high=None, undefined=reason)
    from scipy.special import stdtrit

    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(num - 1, 0.975)) * sd * math.sqrt(1 / num + test_share)
    low, high = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    return Estimate(num=num, mean=mean, sd=sd, low=low, high=high, undefined=undefined)
