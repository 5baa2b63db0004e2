"""Calibration bins: how often predictions with a given probability are correct."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.weighted import NUM_BINS, Scores, bin_of

#: The 97.5% quantile of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images of similar probability: one bin of the expected calibration error.

    Attributes:
        low: lower edge.
        high: upper edge.
        num_images: in the bin, at least 1.
        confidence: mean probability.
        share: of images that are of the class.
        interval: of the share, 95%; see `wilson`.
    """

    low: float
    high: float
    num_images: int
    confidence: float
    share: float
    interval: Interval


def bins(confidence: Scores, right: NDArray[np.bool_]) -> Sequence[Bin]:
    """The bins with images, ascending; their gaps, weighted by images, add up to the `ece`.

    Args:
        confidence: (N,) probabilities of a class.
        right: (N,) whether each image is of that class.
    """
    index = bin_of(np.asarray(confidence, np.float64))
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
        for inside in [index == number]
        if inside.any()
    ]


def wilson(successes: float, number: float) -> Interval:
    """The 95% interval of a share of so many independent images (Wilson 1927)."""
    share, square = successes / number, _Z**2
    center = (share + square / (2 * number)) / (1 + square / number)
    half = (
        _Z
        * np.sqrt(share * (1 - share) / number + square / (4 * number**2))
        / (1 + square / number)
    )
    # without rounding at the edges
    low = 0.0 if successes == 0 else max(0.0, float(center - half))
    return low, 1.0 if successes == number else min(1.0, float(center + half))
