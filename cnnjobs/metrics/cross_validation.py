"""The mean of a metric over repeated splits, with an interval that knows they share images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric over several trainings: mean, standard deviation and 95 % interval of the mean.

    `num` is how many trainings have the metric; of one there is neither `sd` nor interval.
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

    Trainings on folds share most of their images, so that their results differ less than those
    of new data would. The variance of the mean is therefore not taken as s²/J of the J results
    but as (1/J + test/train) s², with the number of images in a test and in its training; for
    folds that are repeated as Bouckaert and Frank (2004) do.

    Args:
        values: one a training.
        test_share: images in a test, for each one in its training.
        bounds: of the metric, where the interval ends too.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(num=len(values), mean=mean, sd=None, low=None, high=None)
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, 0.975)) * sd * math.sqrt(1 / len(values) + test_share)
    low, high = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    return Estimate(num=len(values), mean=mean, sd=sd, low=low, high=high)
