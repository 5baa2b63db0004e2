"""The 95% intervals of the metrics of `classification` that need no resampling, by name."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import weighted
from cnnjobs.metrics.bootstrap import Interval
from cnnjobs.metrics.share_intervals import combined, of_auroc, of_f1, of_share
from cnnjobs.metrics.weighted import Floats, Integers

Intervals = dict[str, Interval | None]
Mask = NDArray[np.bool_]


def of_two_classes(
    actual: Mask, predicted: Mask, scores: Floats, groups: Integers, prevalence: float | None
) -> Intervals:
    """Accuracies, predictive values, F1 and AUROC; all arguments but the last are (N,).

    Args:
        actual: which images are positive.
        predicted: which are predicted positive.
        scores: probabilities.
        groups: number of each image's group.
        prevalence: see `classification.binary`.
    """
    right, either = predicted == actual, actual | predicted
    shares = {
        "accuracy": np.ones_like(actual),
        "sensitivity": actual,
        "specificity": ~actual,
        "ppv": predicted,
        "npv": ~predicted,
    }
    found = {name: of_share(right[among], groups[among]) for name, among in shares.items()}
    found["f1"] = of_f1((actual & predicted)[either], groups[either])
    found["auroc"] = of_auroc(scores, actual, groups)
    values = [float(right[among].mean()) if among.any() else None for among in (actual, ~actual)]
    ends = [found["sensitivity"], found["specificity"]]
    found["balanced_accuracy"] = combined(_mean, values, ends)
    return found if prevalence is None else {**found, **of_prevalence(values, ends, prevalence)}


def of_prevalence(
    values: Sequence[float | None], ends: Sequence[Interval | None], prevalence: float
) -> Intervals:
    """PPV and NPV where `prevalence` of the images are positive.

    Args:
        values: sensitivity and specificity.
        ends: their intervals.
        prevalence: above 0 and below 1.
    """
    return {
        name: combined(_at_prevalence(name, prevalence), values, ends)
        for name in ("ppv_at_prevalence", "npv_at_prevalence")
    }


def of_many_classes(
    actual: Integers, predicted: Integers, names: Sequence[str], groups: Integers
) -> Intervals:
    """Accuracies, and precision, recall and F1 of each class.

    Args:
        actual: (N,) number of each image's class.
        predicted: (N,) number of the predicted one.
        names: of the classes.
        groups: (N,) number of each image's group.
    """
    found: Intervals = {"accuracy": of_share(predicted == actual, groups)}
    recalls, ends = [], []
    for number, name in enumerate(names):
        member, called = actual == number, predicted == number
        hits, either = member & called, member | called
        found[f"precision_{name}"] = of_share(hits[called], groups[called])
        found[f"recall_{name}"] = of_share(hits[member], groups[member])
        found[f"f1_{name}"] = of_f1(hits[either], groups[either])
        if member.any():
            recalls.append(float(hits[member].mean()))
            ends.append(found[f"recall_{name}"])
    found["balanced_accuracy"] = combined(_mean, recalls, ends)
    return found


def _mean(*shares: float) -> float:
    return float(np.mean(shares))


def _at_prevalence(name: str, prevalence: float) -> Callable[[float, float], float]:
    """PPV or NPV, which rise with sensitivity and specificity."""

    def function(sensitivity: float, specificity: float) -> float:
        both = np.array([sensitivity]), np.array([specificity])
        return float(weighted.at_prevalence(*both, prevalence)[name][0])

    return function
