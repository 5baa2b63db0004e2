"""Learning curves and the metrics of folds, drawn."""

import numpy as np
import pytest

from cnnjobs.training import plots
from tests.support.figures import decoded, num_colored


@pytest.mark.parametrize("num_epochs", [1, 3])
@pytest.mark.parametrize("validation", [False, True])
def test_learning_curves_have_three_panels_with_curves(num_epochs: int, validation: bool) -> None:
    image = decoded(plots.learning_curves(history(num_epochs, validation=validation)))
    height, width, _ = image.shape
    # 7 inches, the width of a page, at 300 dots per inch
    assert (height, width) == (660, 2100)
    assert np.all(image[0] == 255)
    for panel in np.array_split(image, 3, axis=1):
        assert 0.005 < np.mean(panel.min(axis=2) < 200) < 0.5


def test_validation_adds_a_second_curve() -> None:
    alone = decoded(plots.learning_curves(history(3, validation=False)))
    both = decoded(plots.learning_curves(history(3, validation=True)))
    assert num_colored(both) > 1.5 * num_colored(alone) > 0


def test_a_single_epoch_is_drawn_as_a_point() -> None:
    assert num_colored(decoded(plots.learning_curves(history(1, validation=False)))) > 20


def test_a_measure_of_a_single_epoch_has_its_number_as_the_only_tick() -> None:
    figure = plots.training_measures([{"epoch": 2, "learning_rate": 0.001}])
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [2]


def test_a_metric_missing_from_the_history_has_no_panel() -> None:
    losses = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]
    height, width, _ = decoded(plots.learning_curves(losses)).shape
    assert (height, width) == (660, 1050)


def test_a_value_that_is_not_a_number_leaves_a_gap() -> None:
    with_gap = history(3, validation=True)
    with_gap[1]["val_auroc"] = float("nan")
    image = decoded(plots.learning_curves(with_gap))
    whole = decoded(plots.learning_curves(history(3, validation=True)))
    assert image.shape == whole.shape == (660, 2100, 3)
    assert 0 < num_colored(image) < num_colored(whole)


def test_what_a_training_did_has_a_panel_for_each_measure_that_an_epoch_has() -> None:
    epochs = [
        {"epoch": 1, "loss": 0.5, "learning_rate": 1e-3, "wait_share": 0.2},
        {"epoch": 2, "loss": 0.4, "learning_rate": 1e-4, "wait_share": 0.1, "gradient_norm": None},
    ]
    two = decoded(plots.training_measures(epochs))
    epochs[1]["gradient_norm"] = 2.0
    three = decoded(plots.training_measures(epochs))
    assert (two.shape[1], three.shape[1]) == (1400, 2100)
    assert num_colored(three) > num_colored(two) > 50


def test_folds_and_sources_are_two_panels() -> None:
    interval = (0.9, 0.8, 1.0)
    folds = plots.fold_metrics({"auroc": [0.85, 0.95]}, {"auroc": interval}, {})
    both = plots.fold_metrics({"auroc": [0.85, 0.95]}, {"auroc": interval}, {"without a": interval})
    alone = plots.fold_metrics({}, {}, {"without a": (0.6, None, None)})
    assert decoded(both).shape[1] == 2 * decoded(folds).shape[1]
    assert decoded(alone).shape[1] == decoded(folds).shape[1]
    assert min(map(num_colored, map(decoded, (folds, both, alone)))) > 50


def test_a_metric_without_an_interval_is_drawn_without_one() -> None:
    points = decoded(plots.fold_metrics({"auroc": [0.9]}, {"auroc": (0.9, None, None)}, {}))
    whole = decoded(plots.fold_metrics({"auroc": [0.9]}, {"auroc": (0.9, 0.2, 1.0)}, {}))
    assert 0 < num_colored(points) < num_colored(whole)


def history(num_epochs: int, *, validation: bool) -> list[dict[str, float]]:
    epochs = []
    for number in range(1, num_epochs + 1):
        epoch = {"epoch": number, "loss": 1 / number, "accuracy": 0.7, "auroc": 0.6 + number / 10}
        if validation:
            epoch |= {"val_loss": 1.5 / number, "val_accuracy": 0.4, "val_auroc": number / 10}
        epochs.append(epoch)
    return epochs
