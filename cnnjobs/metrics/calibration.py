"""The threshold and the temperature, chosen on the validation split after training."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

#: Range of the search; a best temperature outside of it counts as none.
_COLDEST, _HOTTEST = 0.05, 20.0

#: Halvings of that range: enough for the last bit of a double.
_HALVINGS = 60


def scaled(scores: Scores, temperature: float) -> Scores:
    """Probabilities whose logits are divided by a temperature (Guo et al. 2017).

    A temperature of 1 returns the scores unchanged, bit for bit. Above 1, probabilities become
    less confident; their order does not change.

    Args:
        scores: (N, 1) of the positive class, or (N, classes) that sum to 1.
        temperature: above 0.
    """
    if temperature == 1:
        return scores
    logarithms = _logarithms(scores) / temperature
    logarithms -= logarithms.max(axis=1, keepdims=True)
    shares = np.exp(logarithms)
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(shares[:, 1:] if scores.shape[1] == 1 else shares, np.float32)


def temperature(scores: Scores, targets: NDArray[np.int64]) -> float:
    """The temperature with the highest likelihood of the labels (lowest mean log loss).

    1 if no temperature is best: all images are predicted correctly and more confidence is always
    better, or the scores are uninformative.

    Args:
        scores: see `scaled`.
        targets: (N,) number of each image's class; of two classes the positive one is 1.
    """
    # probabilities of exactly 0 would make the loss infinite at every temperature
    logarithms = np.maximum(_logarithms(scores), np.log(1e-7))
    chosen = logarithms[np.arange(len(targets)), targets]

    def slope(cold: float) -> float:
        """Slope of the loss over 1 / temperature; it only rises, because the loss is convex."""
        scaled_up = cold * logarithms
        shares = np.exp(scaled_up - scaled_up.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return float(((shares * logarithms).sum(axis=1) - chosen).mean())

    low, high = 1 / _HOTTEST, 1 / _COLDEST
    if slope(low) >= 0 or slope(high) <= 0:
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def threshold(rule: str, probabilities: Scores, positive: NDArray[np.bool_]) -> float:
    """The lowest probability to predict as positive.

    Args:
        rule: `youden` for the largest sensitivity + specificity (Youden 1950), and of several such
            thresholds the nearest to 0.5; `sensitivity=S` for the highest threshold with at least
            that sensitivity; or a number.
        probabilities: (N,) of the positive class.
        positive: (N,) whether each image is positive; both classes must occur.
    """
    if rule != "youden" and not rule.startswith("sensitivity="):
        return float(rule)
    candidates = _between(probabilities)
    sensitivity = _share_from(candidates, probabilities[positive])
    if rule == "youden":
        index = sensitivity - _share_from(candidates, probabilities[~positive])
        best = candidates[np.isclose(index, index.max())]
        return float(best[np.argmin(np.abs(best - 0.5))])
    required = float(rule.partition("=")[2])
    return float(candidates[sensitivity >= required - 1e-9].max())


def _between(probabilities: Scores) -> Scores:
    """0, and the middles between neighbors, where rounding differences change no prediction."""
    known = np.unique(probabilities)
    halfway = (known[:-1] + known[1:]) / np.float32(2)
    # there is no number between two neighboring floats
    return np.concatenate([[np.float32(0)], np.where(halfway > known[:-1], halfway, known[1:])])


def _share_from(candidates: Scores, probabilities: Scores) -> NDArray[np.float64]:
    """The share of the probabilities that are at least each candidate."""
    below = np.searchsorted(np.sort(probabilities), candidates, side="left")
    return 1 - below / len(probabilities)


def _logarithms(scores: Scores) -> NDArray[np.float64]:
    """Logarithms of the probability of every class, (N, classes)."""
    wide = np.asarray(scores, np.float64)
    every = np.concatenate([1 - wide, wide], axis=1) if wide.shape[1] == 1 else wide
    with np.errstate(divide="ignore"):
        logarithms: NDArray[np.float64] = np.log(every)
    return logarithms
