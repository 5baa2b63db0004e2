"""Curves over all thresholds of a two-class model, with 95 % bands; pure NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import weighted
from cnnjobs.metrics.bootstrap import Bootstrap, Statistic, resampled
from cnnjobs.metrics.weighted import Floats, Scores

#: Where bands are made: of 1 - specificity, and of sensitivity (at 0 no precision is defined).
_RATES, _RECALLS = np.linspace(0, 1, 101), np.linspace(0.01, 1, 100)

#: Thresholds of the decision curve; at 1 the odds are infinite.
_THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, kw_only=True)
class Band:
    """The middle 95 % of the resamples' curves at each `x`, all (points,)."""

    x: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through (x, y), both (points,), and its band where the bootstrap makes one."""

    x: Floats
    y: Floats
    band: Band | None


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit over the threshold: of the model, and of treating everybody, (points,)."""

    model: Curve
    treat_all: Floats


def roc(scores: Scores, positive: NDArray[np.bool_], bootstrap: Bootstrap | None = None) -> Curve:
    """Sensitivity (y) over 1 - specificity (x), from no image called positive to all.

    Args:
        scores: (N,) probabilities.
        positive: (N,) which images are; both classes must be there.
        bootstrap: how to make the band.
    """

    def statistic(weights: Floats) -> dict[str, Floats]:
        found, accused = _from_above(scores, positive, weights)
        rows = zip(_shares(accused), _shares(found), strict=True)
        return {"y": np.array([np.interp(_RATES, x, y) for x, y in rows])}

    found, accused = _from_above(scores, positive, _once(scores))
    band = _band(_RATES, statistic, bootstrap)
    return Curve(x=_shares(accused)[0], y=_shares(found)[0], band=band)


def precision_recall(
    scores: Scores, positive: NDArray[np.bool_], bootstrap: Bootstrap | None = None
) -> Curve:
    """Precision (y) over recall (x), upwards; each y holds from the x before up to its own.

    So the area under these steps is the average precision. Arguments as for `roc`.
    """

    def statistic(weights: Floats) -> dict[str, Floats]:
        found, accused = _from_above(scores, positive, weights)
        precision = weighted.ratio(found, found + accused)
        # counts, because shares of them are rounded
        wanted = _RECALLS * found[:, -1:] - 1e-9
        rows = zip(found, precision, wanted, strict=True)
        return {"y": np.array([y[np.searchsorted(x, at)] for x, y, at in rows])}

    found, accused = _from_above(scores, positive, _once(scores))
    precision = weighted.ratio(found, found + accused)
    band = _band(_RECALLS, statistic, bootstrap)
    return Curve(x=_shares(found)[0, 1:], y=precision[0, 1:], band=band)


def decision(
    scores: Scores,
    positive: NDArray[np.bool_],
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
) -> DecisionCurve:
    """Net benefit over the probability from which on one would treat (Vickers and Elkin 2006).

    True positives less false positives, these times the odds of the threshold, as a share of
    the images: what finding one sick patient is worth against treating one in vain.

    Args:
        scores: (N,) calibrated probabilities.
        positive: (N,) which images are; both classes must be there.
        prevalence: share of positives where the model is to be used; None: that of the images.
        bootstrap: how to make the band.
    """
    called = scores[:, np.newaxis] >= _THRESHOLDS.astype(scores.dtype)
    odds = _THRESHOLDS / (1 - _THRESHOLDS)

    def statistic(weights: Floats) -> dict[str, Floats]:
        sick = weights @ positive
        share = weighted.ratio(sick, weights.sum(axis=1)) if prevalence is None else prevalence
        found = weighted.ratio(weights @ (called & positive[:, np.newaxis]), _column(sick))
        healthy = weights.sum(axis=1) - sick
        accused = weighted.ratio(weights @ (called & ~positive[:, np.newaxis]), _column(healthy))
        return {"y": found * _column(share) - accused * (1 - _column(share)) * odds}

    share = float(positive.mean()) if prevalence is None else prevalence
    band = _band(_THRESHOLDS, statistic, bootstrap)
    return DecisionCurve(
        model=Curve(x=_THRESHOLDS, y=statistic(_once(scores))["y"][0], band=band),
        treat_all=share - (1 - share) * odds,
    )


def _from_above(
    scores: Scores, positive: NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    """Positives and negatives from each score up, both (R, 1 + scores): none, then more and more.

    NaN in resamples without one of the classes.
    """
    ranked = weighted.by_score(np.asarray(scores, np.float64), positive, weights)
    found, accused = (np.pad(np.cumsum(each[:, ::-1], axis=1), ((0, 0), (1, 0))) for each in ranked)
    both = (found[:, -1:] > 0) & (accused[:, -1:] > 0)
    return np.where(both, found, np.nan), np.where(both, accused, np.nan)


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts[:, -1:]
    return shares


def _band(x: Floats, statistic: Statistic, bootstrap: Bootstrap | None) -> Band | None:
    drawn = resampled(statistic, bootstrap) if bootstrap is not None else {}
    if not drawn:
        return None
    known = drawn["y"][~np.isnan(drawn["y"]).any(axis=1)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975], axis=0)
    return Band(x=x, low=low, high=high)


def _column(values: Floats | float) -> Floats:
    return np.reshape(values, (-1, 1))


def _once(scores: Scores) -> Floats:
    return np.ones((1, len(scores)))
