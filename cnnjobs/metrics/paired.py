"""Tests of two models on the same images: is one better, or is it chance?"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.weighted import Floats, Scores

#: The 97.5% quantile of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """AUROC of one model minus that of another on the same images.

    Attributes:
        difference: of the two.
        standard_error: of the difference; 0 if the models rank every pair in the same way.
        interval: 95%.
        p: two-sided; 1 if the standard error is 0.
    """

    difference: float
    standard_error: float
    interval: Interval
    p: float


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Images that only one of two models predicts correctly, and the exact two-sided p."""

    only_one: int
    only_other: int
    p: float


def delong(one: Scores, other: Scores, positive: NDArray[np.bool_]) -> DeLong:
    """Compare two AUROCs (DeLong et al. 1988), by ranks instead of pairs (Sun and Xu 2014).

    Assumes that the images are independent of each other.

    Args:
        one: (N,) probabilities of one model.
        other: (N,) of the other.
        positive: (N,) whether each image is positive; at least two of each class.
    """
    of_positives, of_negatives = zip(
        *(_shares(each, positive) for each in (one, other)), strict=True
    )
    gaps = [shares[0] - shares[1] for shares in (of_positives, of_negatives)]
    error = math.sqrt(sum(float(gap.var(ddof=1)) / len(gap) for gap in gaps))
    difference = float(gaps[0].mean())
    return DeLong(
        difference=difference,
        standard_error=error,
        interval=(difference - _Z * error, difference + _Z * error),
        p=math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else 1.0,
    )


def mcnemar(one_right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> McNemar:
    """Compare which images two models predict correctly (McNemar 1947, the exact test).

    Only images that exactly one of them predicts correctly count: each of two equally good models
    gets half of those.

    Args:
        one_right: (N,) whether one model is correct.
        other_right: (N,) whether the other is.
    """
    only_one = int(np.sum(one_right & ~other_right))
    only_other = int(np.sum(other_right & ~one_right))
    number = only_one + only_other
    outcomes = sum(math.comb(number, fewer) for fewer in range(min(only_one, only_other) + 1))
    p = min(1.0, 2 * outcomes / 2**number)
    return McNemar(only_one=only_one, only_other=only_other, p=p)


def _shares(scores: Scores, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative of positives above it.

    Ties count half; the mean of either array is the AUROC.
    """
    above, below = scores[positive], scores[~positive]
    ranks = _midranks(scores)
    wins = ranks[positive] - _midranks(above)
    losses = len(above) - (ranks[~positive] - _midranks(below))
    return wins / len(below), losses / len(above)


def _midranks(values: Scores) -> Floats:
    """Ranks in ascending order, from 1; equal values share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[index]
    return ranks
