"""How often images of each probability are what they are said to be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.weighted import NUM_BINS, Scores, bin_of

#: The 97.5 % quantile of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images of like probability, in one of the bins of the calibration error.

    Attributes:
        low: lower edge.
        high: upper edge.
        num_images: that fall in it; bins without images are none.
        confidence: mean probability.
        share: of the images that are right.
        interval: of the share, 95 %; see `wilson`.
    """

    low: float
    high: float
    num_images: int
    confidence: float
    share: float
    interval: Interval


def bins(confidence: Scores, right: NDArray[np.bool_]) -> Sequence[Bin]:
    """The bins that have images, upwards; weighted by them, their gaps are the `ece`.

    Args:
        confidence: (N,) probabilities.
        right: (N,) whether the image is of the class that the probability is of.
    """
    place = bin_of(np.asarray(confidence, np.float64))
    return [
        Bin(
            low=number / NUM_BINS,
            high=(number + 1) / NUM_BINS,
            num_images=int(inside.sum()),
            confidence=float(confidence[inside].mean(dtype=np.float64)),
            share=float(right[inside].mean()),
            interval=wilson(int(right[inside].sum()), int(inside.sum())),
        )
        for number in range(NUM_BINS)
        for inside in [place == number]
        if inside.any()
    ]


def wilson(successes: int, number: int) -> Interval:
    """The 95 % interval of a share of independent images (Wilson 1927)."""
    share, square = successes / number, _Z**2
    center = (share + square / (2 * number)) / (1 + square / number)
    half = (
        _Z
        * np.sqrt(share * (1 - share) / number + square / (4 * number**2))
        / (1 + square / number)
    )
    return max(0.0, float(center - half)), min(1.0, float(center + half))
