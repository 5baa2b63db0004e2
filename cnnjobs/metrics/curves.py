"""Curves over all thresholds of a two-class model, with 95% bands; pure NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import weighted
from cnnjobs.metrics.bootstrap import Bootstrap, Statistic, resampled
from cnnjobs.metrics.weighted import Floats, Scores

#: Points of the bands: 1 - specificity, and sensitivity (precision is undefined at 0).
_RATES, _RECALLS = np.linspace(0, 1, 101), np.linspace(0.01, 1, 100)

#: Thresholds of the decision curve; at 1 the odds are infinite.
_THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, kw_only=True)
class Band:
    """The middle 95% of the curves of the resamples at each `x`; all (points,)."""

    x: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through (x, y), both (points,), and its band if there is a bootstrap."""

    x: Floats
    y: Floats
    band: Band | None


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit by threshold, (points,): of the model, and of treating all."""

    model: Curve
    treat_all: Floats


def roc(scores: Scores, positive: NDArray[np.bool_], bootstrap: Bootstrap | None = None) -> Curve:
    """Sensitivity (y) over 1 - specificity (x), from no image predicted positive to all.

    Args:
        scores: (N,) probabilities.
        positive: (N,) whether each image is positive; both classes must occur.
        bootstrap: how to compute the band.
    """

    def statistic(weights: Floats) -> dict[str, Floats]:
        true, false = _predicted_positive(scores, positive, weights)
        rows = zip(_shares(false), _shares(true), strict=True)
        return {"y": np.array([np.interp(_RATES, x, y) for x, y in rows])}

    true, false = _predicted_positive(scores, positive, _once(scores))
    band = _band(_RATES, statistic, bootstrap)
    return Curve(x=_shares(false)[0], y=_shares(true)[0], band=band)


def precision_recall(
    scores: Scores, positive: NDArray[np.bool_], bootstrap: Bootstrap | None = None
) -> Curve:
    """Precision (y) by recall (x), ascending; each y applies from the previous x up to its own.

    The area under these steps is the average precision. Arguments as for `roc`.
    """

    def statistic(weights: Floats) -> dict[str, Floats]:
        true, false = _predicted_positive(scores, positive, weights)
        precision = weighted.ratio(true, true + false)
        # searched by counts, because shares are rounded
        counts = _RECALLS * true[:, -1:] - 1e-9
        rows = zip(true, precision, counts, strict=True)
        return {"y": np.array([y[np.searchsorted(x, at)] for x, y, at in rows])}

    true, false = _predicted_positive(scores, positive, _once(scores))
    precision = weighted.ratio(true, true + false)
    band = _band(_RECALLS, statistic, bootstrap)
    return Curve(x=_shares(true)[0, 1:], y=precision[0, 1:], band=band)


def decision(
    scores: Scores,
    positive: NDArray[np.bool_],
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
) -> DecisionCurve:
    """Net benefit by the lowest probability that one would treat (Vickers and Elkin 2006).

    True positives, minus false positives times the odds of the threshold, as a share of the
    images. The odds weigh an unnecessary treatment against a treated patient who needs it.

    Args:
        scores: (N,) calibrated probabilities.
        positive: (N,) whether each image is positive; both classes must occur.
        prevalence: share of positives where the model will be used; None: that of the images.
        bootstrap: how to compute the band.
    """
    treated = scores[:, np.newaxis] >= _THRESHOLDS.astype(scores.dtype)
    odds = _THRESHOLDS / (1 - _THRESHOLDS)

    def statistic(weights: Floats) -> dict[str, Floats]:
        sick = weights @ positive
        share = weighted.ratio(sick, weights.sum(axis=1)) if prevalence is None else prevalence
        true = weighted.ratio(weights @ (treated & positive[:, np.newaxis]), _column(sick))
        healthy = weights.sum(axis=1) - sick
        false = weighted.ratio(weights @ (treated & ~positive[:, np.newaxis]), _column(healthy))
        return {"y": true * _column(share) - false * (1 - _column(share)) * odds}

    share = float(positive.mean()) if prevalence is None else prevalence
    band = _band(_THRESHOLDS, statistic, bootstrap)
    return DecisionCurve(
        model=Curve(x=_THRESHOLDS, y=statistic(_once(scores))["y"][0], band=band),
        treat_all=share - (1 - share) * odds,
    )


def _predicted_positive(
    scores: Scores, positive: NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    """True and false positives, both (R, 1 + scores), with each score as threshold, descending.

    They start at 0, without any; NaN in resamples without one of the classes.
    """
    ranked = weighted.by_score(np.asarray(scores, np.float64), positive, weights)
    true, false = (np.pad(np.cumsum(each[:, ::-1], axis=1), ((0, 0), (1, 0))) for each in ranked)
    has_both = (true[:, -1:] > 0) & (false[:, -1:] > 0)
    return np.where(has_both, true, np.nan), np.where(has_both, false, np.nan)


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts[:, -1:]
    return shares


def _band(x: Floats, statistic: Statistic, bootstrap: Bootstrap | None) -> Band | None:
    resamples = resampled(statistic, bootstrap) if bootstrap is not None else {}
    if not resamples:
        return None
    known = resamples["y"][~np.isnan(resamples["y"]).any(axis=1)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975], axis=0)
    return Band(x=x, low=low, high=high)


def _column(values: Floats | float) -> Floats:
    return np.reshape(values, (-1, 1))


def _once(scores: Scores) -> Floats:
    return np.ones((1, len(scores)))
