"""What the validation split decides after training: a threshold and a temperature."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

#: Temperatures that are looked at; a best one beyond them is none.
_COLDEST, _HOTTEST = 0.05, 20.0

#: Halvings of that range: to the last bit of a double.
_HALVINGS = 60


def scaled(scores: Scores, temperature: float) -> Scores:
    """Probabilities whose logits are divided by a temperature (Guo et al. 2017).

    1 returns what it was given, to the bit. Above 1 probabilities become less sure; their
    order stays.

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
    """The temperature at which the labels are most likely (least mean log loss).

    1 where no temperature is best: all images are on the right side, and the surer the better,
    or the scores say nothing.

    Args:
        scores: see `scaled`.
        targets: (N,) number of each image's class; of two classes the positive one is 1.
    """
    # probabilities of exactly 0 would make the loss infinite at every temperature
    logarithms = np.maximum(_logarithms(scores), np.log(1e-7))
    chosen = logarithms[np.arange(len(targets)), targets]

    def slope(cold: float) -> float:
        """Of the loss over 1 / temperature: it only rises, because the loss is convex."""
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
    """The probability from which on an image is to be predicted positive.

    Args:
        rule: `youden`: sensitivity + specificity is largest (Youden 1950), of equals the
            nearest to 0.5; `sensitivity=S`: the highest with at least that sensitivity; or a
            number.
        probabilities: (N,) of the positive class.
        positive: (N,) which images are; both classes must be there.
    """
    if rule != "youden" and not rule.startswith("sensitivity="):
        return float(rule)
    candidates = _between(probabilities)
    sensitivity = _share_from(candidates, probabilities[positive])
    if rule == "youden":
        index = sensitivity - _share_from(candidates, probabilities[~positive])
        best = candidates[np.isclose(index, index.max())]
        return float(best[np.argmin(np.abs(best - 0.5))])
    wanted = float(rule.partition("=")[2])
    return float(candidates[sensitivity >= wanted - 1e-9].max())


def _between(probabilities: Scores) -> Scores:
    """Halfway between neighbours, where other arithmetic changes no prediction; and 0."""
    known = np.unique(probabilities)
    halfway = (known[:-1] + known[1:]) / np.float32(2)
    # between two neighbouring floats there is nothing
    return np.concatenate([[np.float32(0)], np.where(halfway > known[:-1], halfway, known[1:])])


def _share_from(candidates: Scores, probabilities: Scores) -> NDArray[np.float64]:
    """The share of the probabilities that are at least each candidate."""
    below = np.searchsorted(np.sort(probabilities), candidates, side="left")
    return 1 - below / len(probabilities)


def _logarithms(scores: Scores) -> NDArray[np.float64]:
    """Of the probability of every class, (N, classes)."""
    wide = np.asarray(scores, np.float64)
    every = np.concatenate([1 - wide, wide], axis=1) if wide.shape[1] == 1 else wide
    with np.errstate(divide="ignore"):
        logarithms: NDArray[np.float64] = np.log(every)
    return logarithms
