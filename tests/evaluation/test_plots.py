"""Plots of an evaluation: that they are drawn, and show their data."""

import cv2
import numpy as np
import pytest

from cnnjobs.evaluation import plots
from cnnjobs.metrics import Bootstrap, curves, reliability

RANDOM = np.random.default_rng(0)
POSITIVE = RANDOM.random(60) < 0.5
SCORES = np.clip(RANDOM.normal(0.35 + 0.3 * POSITIVE, 0.2), 0, 1).astype(np.float32)
BOOTSTRAP = Bootstrap(groups=[str(number) for number in range(60)], resamples=100)


@pytest.mark.parametrize("number", [2, 10, 21])
def test_a_confusion_matrix_grows_with_its_classes(number: int) -> None:
    names = [f"class {index}" for index in range(number)]
    matrix = {name: {other: 5 * (name == other) for other in names} for name in names}
    image = _decoded(plots.confusion(matrix))
    assert image.shape[1] > 120 * 0.68 * number
    # cells on the diagonal are dark, the others white
    assert 0.2 / number < np.mean(image[..., 2] < 60) < 1.5 / number


def test_a_class_without_images_leaves_its_row_white() -> None:
    drawn = plots.confusion({"a": {"a": 3, "b": 1}, "b": {"a": 0, "b": 0}})
    assert np.mean(_decoded(drawn)[..., 2] < 60) > 0.02


def test_a_band_is_drawn_if_there_is_one() -> None:
    with_band, without = (
        _decoded(plots.roc(curves.roc(SCORES, POSITIVE, bootstrap), title="", threshold=(0.2, 0.7)))
        for bootstrap in (BOOTSTRAP, None)
    )
    assert _num_colored(with_band) > 3 * _num_colored(without) > 0


def test_the_curve_on_other_images_has_another_color() -> None:
    curve = curves.roc(SCORES, POSITIVE)
    alone, both = (
        _decoded(plots.roc(curve, title="", threshold=(0.2, 0.7), others=others))
        for others in (None, {"elsewhere": curves.roc(1 - SCORES, POSITIVE)})
    )
    # orange: red without blue
    assert _num_orange(both) > 200
    assert _num_orange(alone) == 0


def test_uncalibrated_bins_are_drawn_with_the_calibrated_ones() -> None:
    bins = reliability.bins(SCORES, POSITIVE)
    labels = {"title": "", "confidence": "", "share": ""}
    alone = _decoded(plots.reliability({"model": bins}, **labels))
    both = _decoded(plots.reliability({"calibrated": bins, "uncalibrated": bins}, **labels))
    assert _num_orange(both) > 500
    assert _num_orange(alone) == 0


def test_a_single_bin_can_be_drawn() -> None:
    bins = reliability.bins(np.array([1.0]), np.array([True]))
    drawn = plots.reliability({"model": bins}, title="", confidence="", share="")
    assert _num_colored(_decoded(drawn)) > 100


def test_each_class_has_a_histogram() -> None:
    by_class = {"normal": SCORES[~POSITIVE], "covid": SCORES[POSITIVE]}
    both = _decoded(plots.probabilities(by_class, threshold=0.5, positive="covid"))
    del by_class["normal"]
    alone = _decoded(plots.probabilities(by_class, threshold=0.5, positive="covid"))
    assert both.shape[0] > alone.shape[0]
    assert _num_orange(both) > 1000 > _num_orange(alone)


def test_a_model_without_positive_predictions_has_no_operating_point() -> None:
    curve = curves.precision_recall(SCORES, POSITIVE)
    without, with_point = (
        _decoded(plots.precision_recall(curve, title="", threshold=point, prevalence=0.5))
        for point in (None, (0.5, 0.1))
    )
    assert _num_colored(with_point) > _num_colored(without)


def test_the_decision_curve_is_drawn_on_its_band() -> None:
    with_band, without = (
        plots.decision_curve(
            curves.decision(SCORES, POSITIVE, bootstrap=bootstrap), prevalence=0.5, threshold=0.4
        )
        for bootstrap in (BOOTSTRAP, None)
    )
    assert _num_colored(_decoded(with_band)) > 2 * _num_colored(_decoded(without)) > 0


def _decoded(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def _num_colored(image: np.ndarray) -> int:
    return int(np.sum(np.ptp(image.astype(int), axis=2) > 15))


def _num_orange(image: np.ndarray) -> int:
    blue, _, red = (image[..., channel].astype(int) for channel in range(3))
    return int(np.sum(red - blue > 90))
