"""Alarms: each is raised by the figures it is about, and by no others."""

import numpy as np
import pytest

from cnnjobs import metrics
from cnnjobs.evaluation import alarms
from cnnjobs.metrics import Bootstrap

LABELS = ["normal", "opacity"] * 40


def test_a_good_result_raises_no_alarm():
    assert _alarms(_scores(apart=1.5), validation={"val_auroc": 0.9}) == []


def test_one_prediction_for_all_images_is_an_alarm():
    assert _alarms(_scores(apart=1.5) / 2 + 0.5) == [
        "every image is predicted opacity: the model does not tell them apart."
    ]


def test_an_auroc_below_chance_is_not_called_unclear():
    (alarm,) = _alarms(_scores(apart=-1.5))
    assert alarm.startswith("the AUROC of 0.1")
    assert alarm.endswith(
        "is clearly below chance (0.5): the labels are reversed, or the model is worse than "
        "guessing on these images."
    )
    # nor is one around chance called reversed
    assert _alarms(_scores(apart=-0.2)) == []


def test_probabilities_in_a_narrow_band_are_an_alarm():
    scores = 0.5 + (_scores(apart=1.5) - 0.5) / 25
    (alarm,) = _alarms(scores)
    assert alarm.startswith("nine of ten probabilities are between 0.4")


@pytest.mark.parametrize("name", ["auroc", "val_auroc", "val_accuracy"])
def test_a_test_result_far_from_validation_is_an_alarm(name):
    (alarm,) = _alarms(_scores(apart=0.3), validation={name: 0.99})
    assert " here, 0.99 on the validation split: " in alarm
    # with an unclear difference there is none
    assert _alarms(_scores(apart=0.3), validation={name: 0.6}) == []


def test_few_images_of_a_class_are_an_alarm():
    labels = ["normal"] * 74 + ["opacity"] * 6
    found = _alarms(np.where(np.array(labels) == "opacity", 0.9, 0.1), labels=labels)
    assert found == ["only 6 images of opacity: no figure about them is reliable."]


def _scores(*, apart):
    """Probabilities of LABELS, further apart by class the larger `apart` is."""
    logits = np.random.default_rng(0).normal(np.tile([-apart, apart], 40) / 2, 0.8)
    return 1 / (1 + np.exp(-logits))


def _alarms(scores, *, labels=LABELS, validation=None):
    scores = np.asarray(scores, np.float32)
    measured = metrics.binary(
        labels,
        scores,
        positive="opacity",
        negative="normal",
        threshold=0.5,
        bootstrap=Bootstrap(groups=[str(n) for n in range(len(labels))], resamples=100),
    )
    return alarms.of_result(
        measured,
        counts={label: labels.count(label) for label in set(labels)},
        positive="opacity",
        probabilities=scores[:, np.newaxis],
        validation=validation or {},
    )
