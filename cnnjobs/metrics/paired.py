"""Tests of two models on the same images: is one better, or is it chance?"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.weighted import Floats, Scores

#: The 97.5% quantile of the normal distribution.
_Z = 1.959964

_CONSTANT = "every image contributes the same difference: there is no variance to test it against"


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """AUROC of one model minus that of another on the same images.

    Attributes:
        difference: of the two.
        standard_error: of the difference; 0 if every image contributes the same to it.
        interval: 95%; None if the standard error is 0 and the difference is not.
        p: two-sided; None where `interval` is. It is 1 only if the difference is 0.
        undefined: why there is no `interval` and no `p`; None if there are.
    """

    difference: float
    standard_error: float
    interval: Interval | None
    p: float | None
    undefined: str | None = None


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
    above, below = (
        wins[0] - wins[1] for wins in zip(_wins(one, positive), _wins(other, positive), strict=True)
    )
    # halves of pairs, which floats hold exactly: what does not vary has a variance of exactly 0
    difference = float(above.sum()) / (len(above) * len(below))
    error = math.sqrt(
        float(above.var(ddof=1)) / len(above) / len(below) ** 2
        + float(below.var(ddof=1)) / len(below) / len(above) ** 2
    )
    if error == 0 and difference != 0:
        return DeLong(
            difference=difference, standard_error=error, interval=None, p=None, undefined=_CONSTANT
        )
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
    from scipy.special import bdtr

    # the binomial distribution's cumulative probability, by the incomplete beta function
    p = min(1.0, 2 * float(bdtr(min(only_one, only_other), number, 0.5))) if number else 1.0
    return McNemar(only_one=only_one, only_other=only_other, p=p)


def placements(scores: Scores, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative of positives above it.

    The mean of either is the AUROC. Arguments as for `delong`, of one model.
    """
    wins, losses = _wins(scores, positive)
    return wins / len(losses), losses / len(wins)


def _wins(scores: Scores, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each positive the negatives below it, for each negative the positives above it.

    Ties count half; the sum of either array over the number of pairs is the AUROC.
    """
    above, below = scores[positive], scores[~positive]
    ranks = _midranks(scores)
    wins = ranks[positive] - _midranks(above)
    losses = len(above) - (ranks[~positive] - _midranks(below))
    return wins, losses


def _midranks(values: Scores) -> Floats:
    """Ranks in ascending order, from 1; equal values share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[index]
    return ranks
