"""What is wrong with a result, in words: one sentence per alarm, made from figures only.

The same sentences stand in the text, in `run.json`, on the page and in the bundle.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cnnjobs.config.printable import counted
from cnnjobs.metrics import Interval, Metrics
from cnnjobs.models.external_tests import CHANCE

#: With fewer images of a class, no figure about it is worth much; with fewer in all, predictions
#: may be equal by chance.
_FEW_IMAGES = 10

#: Probabilities of which the middle 90% span less than this say nearly the same of every image.
_NARROW_BAND = 0.05

#: An AUROC or accuracy that falls this far from validation to test is far off, if its interval
#: on the test images does not reach the one on the validation images.
_FAR = 0.1


def of_result(
    measured: Metrics,
    *,
    counts: Mapping[str, int],
    positive: str | None,
    probabilities: NDArray[np.float32],
    validation: Mapping[str, float | None],
) -> list[str]:
    """Alarms about the predictions of one model on one set of labelled images.

    Args:
        measured: the metrics.
        counts: images by label.
        positive: of two classes; None for more.
        probabilities: (N, 1) of the positive class, or (N, classes).
        validation: metrics of the model on its validation split; those after an epoch begin with
            `val_`.
    """
    labels = list(measured.confusion)
    return [
        *_single_prediction(measured.confusion),
        *_reversed(positive, measured),
        *_narrow(probabilities),
        *_far_from_validation(measured, validation),
        *(
            f"only {counted(counts.get(label, 0), 'image')} of {label}: no figure about them is "
            "reliable."
            for label in labels
            if counts.get(label, 0) < _FEW_IMAGES
        ),
    ]


def below_chance(auroc: float, interval: Interval) -> str:
    """Of an AUROC whose whole interval is below 0.5, with that interval."""
    return (
        f"the AUROC of {auroc:.2f} ({interval[0]:.2f} to {interval[1]:.2f}) is clearly below "
        f"chance ({CHANCE}): the labels are reversed, or the model is worse than guessing on these "
        "images"
    )


def _single_prediction(confusion: Mapping[str, Mapping[str, int]]) -> list[str]:
    predicted = {name for row in confusion.values() for name, number in row.items() if number}
    total = sum(sum(row.values()) for row in confusion.values())
    if len(predicted) != 1 or total < _FEW_IMAGES:
        return []
    return [f"every image is predicted {predicted.pop()}: the model does not tell them apart."]


def _reversed(positive: str | None, measured: Metrics) -> list[str]:
    value, interval = measured.values.get("auroc"), measured.intervals.get("auroc")
    if positive is None or value is None or interval is None or interval[1] >= CHANCE:
        return []
    return [f"{below_chance(value, interval)}."]


def _narrow(probabilities: NDArray[np.float32]) -> list[str]:
    if len(probabilities) < _FEW_IMAGES:
        return []
    low, high = np.quantile(probabilities.astype(np.float64), [0.05, 0.95], axis=0)
    widest = int((high - low).argmax())
    if high[widest] - low[widest] >= _NARROW_BAND:
        return []
    return [
        f"nine of ten probabilities are between {low[widest]:.3f} and {high[widest]:.3f}: the "
        "model says nearly the same of every image."
    ]


def _far_from_validation(measured: Metrics, validation: Mapping[str, float | None]) -> list[str]:
    for name, shown in (("auroc", "AUROC"), ("accuracy", "accuracy")):
        before = validation.get(name, validation.get(f"val_{name}"))
        now, interval = measured.values.get(name), measured.intervals.get(name)
        if before is None or now is None or interval is None:
            continue
        if interval[0] <= before <= interval[1] or abs(before - now) < _FAR:
            return []
        return [
            f"the {shown} is {now:.2f} here, {before:.2f} on the validation split: these images "
            "differ from those of the training, or the validation split is too small."
        ]
    return []
