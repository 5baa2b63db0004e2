"""95% intervals of shares of images and of the AUROC, right at 0 and 1 and for groups of images.

Resampling cannot give them: every resample of 9 correct images of 9 has 9 of 9.

Images of a group resemble each other, so N images count as N / design effect independent ones (Rao
and Scott 1992). At 0 and 1 nothing shows how much they do; half a group of each outcome is
therefore added, as Jeffreys' prior adds half an image of each (Brown, Cai and DasGupta 2001). A
whole one of each widens the intervals and hardly raises their lowest coverage; with none, they
fall far short near 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.paired import placements
from cnnjobs.metrics.reliability import wilson
from cnnjobs.metrics.weighted import Floats, Integers, Scores

#: The 97.5% quantile of the normal distribution.
_Z = 1.959964

#: Halvings of an interval between 0 and 1: enough for 12 digits.
_HALVINGS = 40


def of_share(hits: NDArray[np.bool_], groups: Integers) -> Interval | None:
    """Mid-P for independent images, Wilson's score interval for groups; None without images.

    Mid-P (Lancaster 1961; Berry and Armitage 1995) is Clopper and Pearson's interval with half the
    probability of the observed number. With groups, Wilson (1927) at the effective number of
    images, as recommended by Saha, Miller and Wang (2016).

    Args:
        hits: (N,) which of the images count.
        groups: (N,) number of each image's group.
    """
    if not len(hits):
        return None
    number, successes = len(hits), int(hits.sum())
    if len(np.unique(groups)) < number:
        spread = _spread(hits.astype(np.float64), groups)
        effect = max(1.0, (spread.grouped + spread.added) / (spread.alone + spread.added_alone))
        return wilson(successes / effect, number / effect)
    failures = number - successes
    # imported here: it takes 0.2 s, and scoring does without
    from scipy.special import betainc

    def above(share: float) -> float:
        """Probability of more successes than observed, plus half of that of as many."""
        as_many = 1.0 if successes == 0 else float(betainc(successes, failures + 1, share))
        more = 0.0 if failures == 0 else float(betainc(successes + 1, failures, share))
        return (as_many + more) / 2

    low = 0.0 if successes == 0 else _first(lambda share: above(share) > 0.025)
    high = 1.0 if failures == 0 else _first(lambda share: above(share) > 0.975)
    return low, high


def of_f1(hits: NDArray[np.bool_], groups: Integers) -> Interval | None:
    """The interval of an F1 score, which is 2J / (1 + J) of the share J of true positives.

    Args:
        hits: (N,) which are true positives, of all images that have or are predicted the class.
        groups: (N,) number of each image's group.
    """
    found = of_share(hits, groups)
    return None if found is None else (2 * found[0] / (1 + found[0]), 2 * found[1] / (1 + found[1]))


def of_auroc(scores: Scores, positive: NDArray[np.bool_], groups: Integers) -> Interval | None:
    """Newcombe's interval of an AUROC (2006, method 5), scaled to the variance of these scores.

    The variance is Hanley and McNeil's (1982) at the ends of the interval, not at the estimate, so
    a perfect separation has an interval, too. It is scaled by how much larger, at the estimate, the
    variance of DeLong et al. (1988) over groups (Obuchowski 1997) is. None without images of both
    classes.

    Args:
        scores: (N,) probabilities.
        positive: (N,) whether each image is positive.
        groups: (N,) number of each image's group.
    """
    if positive.all() or not positive.any():
        return None
    wins, losses = placements(scores, positive)
    value = float(wins.mean())
    num_pairs, half = len(wins) * len(losses), len(scores) / 2 - 1

    def variance(auroc: float) -> float:
        growth = 1 + half * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
        return auroc * (1 - auroc) * growth / num_pairs

    both = _spread(wins, groups[positive]), _spread(losses, groups[~positive])
    found = sum(each.grouped + each.added for each in both)
    scale = found / (variance(value) + sum(each.added_alone for each in both))

    def is_near(auroc: float) -> bool:
        return (auroc - value) ** 2 <= _Z**2 * scale * variance(auroc)

    low = 0.0 if value == 0 else value * _first(lambda part: is_near(value * part))
    if value == 1:
        return low, 1.0
    return low, 1 - (1 - value) * _first(lambda part: is_near(1 - (1 - value) * part))


def combined(
    function: Callable[..., float],
    values: Sequence[float | None],
    ends: Sequence[Interval | None],
    bounds: tuple[float, float] = (0, 1),
) -> Interval | None:
    """The interval of a rising function of independent estimates (Zou and Donner 2008).

    Each estimate is moved to its own limit; the changes are added as squares. None if the function
    or an estimate is undefined.

    Args:
        function: of all estimates.
        values: the estimates.
        ends: their intervals.
        bounds: of the function.
    """
    known = [value for value in values if value is not None]
    limits = [end for end in ends if end is not None]
    if not known or len(known) < len(values) or len(limits) < len(ends):
        return None
    center = function(*known)
    if math.isnan(center):
        return None

    def distance(side: int) -> float:
        moved = [
            function(*known[:index], limit[side], *known[index + 1 :]) - center
            for index, limit in enumerate(limits)
        ]
        # undefined at the limit itself, such as the PPV of a model that calls nothing positive
        return math.hypot(*(0.0 if math.isnan(each) else each for each in moved))

    return max(center - distance(0), bounds[0]), min(center + distance(1), bounds[1])


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Variances of a mean of values between 0 and 1.

    Attributes:
        grouped: over groups.
        alone: over independent images; equal to `grouped` for groups of one image.
        added: what half a group of only ones and half a one of only zeros add to `grouped`.
        added_alone: what their images would add to `alone`.
    """

    grouped: float
    alone: float
    added: float
    added_alone: float


def _spread(values: Floats, groups: Integers) -> _Spread:
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    number, num_groups, size = len(values), len(sizes), float(sizes.mean())
    mean = float(values.mean())
    added = size * (mean**2 + (1 - mean) ** 2) / 2 / number**2
    sums = np.bincount(group_of, values - mean)
    return _Spread(
        grouped=float((sums**2).sum()) * num_groups / max(num_groups - 1, 1) / number**2,
        alone=float(((values - mean) ** 2).sum()) / max(number - 1, 1) / number,
        added=size * added,
        added_alone=added,
    )


def _first(is_reached: Callable[[float], Any]) -> float:
    """Where a condition between 0 and 1 begins to hold, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_reached(middle) else (middle, high)
    return (low + high) / 2
