"""Percentile bootstrap over groups, because images of one patient are not independent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnnjobs.metrics.weighted import Floats, Integers

#: Fewer images or groups vary too little: their interval would be too narrow.
MIN_IMAGES = 10

#: Weights in memory at once, 8 bytes each; metrics need about ten times that.
_WEIGHTS_AT_ONCE = 200_000

#: From weights (R, N) to metrics by name, each (R,), or curves, each (R, points).
Statistic = Callable[[Floats], Mapping[str, Floats]]

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How to resample.

    Attributes:
        groups: the group of each image; a group is drawn as a whole.
        resamples: how many; 0 for no intervals.
        seed: of the draws.
    """

    groups: Sequence[str]
    resamples: int = 1000
    seed: int = 0

    @property
    def group_of(self) -> Integers:
        """The number of each image's group, (N,)."""
        return np.unique(np.asarray(self.groups, dtype=str), return_inverse=True)[1]

    @property
    def refused(self) -> str | None:
        """Why there can be no intervals; None if there can, or none are requested."""
        for kind, number in (("images", len(self.groups)), ("groups", len(set(self.groups)))):
            if self.resamples and number < MIN_IMAGES:
                return f"no intervals for {number} {kind}: at least {MIN_IMAGES} are needed"
        return None


def resampled(statistic: Statistic, bootstrap: Bootstrap) -> dict[str, Floats]:
    """The metrics of each resample, by name; nothing if resampling is refused.

    Two statistics with the same groups and seed see the same resamples.
    """
    if not bootstrap.resamples or bootstrap.refused:
        return {}
    group_of = bootstrap.group_of
    number = int(group_of.max()) + 1
    rng = np.random.default_rng(bootstrap.seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // len(group_of))
    parts = []
    for start in range(0, bootstrap.resamples, at_once):
        rows = min(at_once, bootstrap.resamples - start)
        # drawn row by row: the draws do not depend on how many rows are drawn at once
        drawn = rng.integers(number, size=(rows, number)) + number * np.arange(rows)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number)
        parts.append(statistic(times[:, group_of].astype(np.float64)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: Floats) -> Interval | None:
    """The 95% interval of a metric: the 2.5% and 97.5% quantiles of its resamples.

    Resamples in which it is undefined (such as without positives) do not count; None if all are.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
