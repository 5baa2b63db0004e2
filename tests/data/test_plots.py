import cv2
import numpy as np
import pytest

from cnnjobs.data import plots


@pytest.mark.parametrize("num_epochs", [1, 3])
@pytest.mark.parametrize("validation", [False, True])
def test_learning_curves_are_a_picture_with_something_on_it(num_epochs, validation):
    image = _decoded(plots.learning_curves(_history(num_epochs, validation=validation)))
    height, width, _ = image.shape
    # three panels of 4.2 x 3.4 inches at 120 dots an inch
    assert (height, width) == (408, 1512)
    assert np.all(image[0] == 255)
    for panel in np.array_split(image, 3, axis=1):
        assert 0.005 < np.mean(panel.min(axis=2) < 200) < 0.5


def test_validation_adds_a_second_curve():
    alone = _decoded(plots.learning_curves(_history(3, validation=False)))
    both = _decoded(plots.learning_curves(_history(3, validation=True)))
    assert _num_colored(both) > 1.5 * _num_colored(alone) > 0


def test_one_epoch_is_drawn_as_a_point():
    assert _num_colored(_decoded(plots.learning_curves(_history(1, validation=False)))) > 20


def test_a_measure_that_was_not_taken_gets_no_panel():
    history = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]
    height, width, _ = _decoded(plots.learning_curves(history)).shape
    assert (height, width) == (408, 504)


def test_a_value_that_is_not_a_number_leaves_a_gap():
    history = _history(3, validation=True)
    history[1]["val_auroc"] = float("nan")
    assert _decoded(plots.learning_curves(history)).shape == (408, 1512, 3)


def _history(num_epochs, *, validation):
    rows = []
    for number in range(1, num_epochs + 1):
        row = {"epoch": number, "loss": 1 / number, "accuracy": 0.7, "auroc": 0.6 + number / 10}
        if validation:
            row |= {"val_loss": 1.5 / number, "val_accuracy": 0.4, "val_auroc": number / 10}
        rows.append(row)
    return rows


def _decoded(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def _num_colored(image):
    """Pixels of the curves: all else is black, gray or white."""
    return int(np.sum(np.ptp(image.astype(int), axis=2) > 60))


def test_folds_and_sources_are_two_panels():
    ends = (0.9, 0.8, 1.0)
    folds = plots.fold_points({"auroc": [0.85, 0.95]}, {"auroc": ends}, {})
    both = plots.fold_points({"auroc": [0.85, 0.95]}, {"auroc": ends}, {"without a": ends})
    alone = plots.fold_points({}, {}, {"without a": (0.6, None, None)})
    assert _decoded(both).shape[1] == 2 * _decoded(folds).shape[1]
    assert _decoded(alone).shape[1] == _decoded(folds).shape[1]
    assert min(map(_num_colored, map(_decoded, (folds, both, alone)))) > 50


def test_a_fold_without_an_interval_is_drawn_without_one():
    points = _decoded(plots.fold_points({"auroc": [0.9]}, {"auroc": (0.9, None, None)}, {}))
    whole = _decoded(plots.fold_points({"auroc": [0.9]}, {"auroc": (0.9, 0.2, 1.0)}, {}))
    assert 0 < _num_colored(points) < _num_colored(whole)
