"""The mean of a metric over repeated splits, with an interval that allows for shared images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric over several trainings: mean, standard deviation and 95% interval of the mean.

    `num` is the number of trainings in which the metric is defined; a single one has no `sd` and
    no interval.
    """

    num: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def estimate(
    values: Sequence[float],
    *,
    test_share: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """The corrected resampled t interval of Nadeau and Bengio (2003), doi 10.1023/A:1024068626366.

    Trainings on folds share most of their images, so their results vary less than they would on
    new data. The variance of the mean of J results is therefore not s²/J but (1/J + test/train) s²,
    with the numbers of test and training images; for repeated folds as in Bouckaert and
    Frank (2004).

    Args:
        values: one per training.
        test_share: test images per training image.
        bounds: of the metric; they also limit the interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(num=len(values), mean=mean, sd=None, low=None, high=None)
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, 0.975)) * sd * math.sqrt(1 / len(values) + test_share)
    low, high = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    return Estimate(num=len(values), mean=mean, sd=sd, low=low, high=high)
