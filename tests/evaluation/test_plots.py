"""Plots of an evaluation: that they are drawn, and show their data."""

from pathlib import Path

import numpy as np
import pytest

from cnnjobs.config import EvaluateConfig
from cnnjobs.data import plots as data_plots
from cnnjobs.errors import ConfigError
from cnnjobs.evaluation import audit_plots, plots
from cnnjobs.imaging.plots import to_bytes, write
from cnnjobs.metrics import Bootstrap, curves, reliability
from tests.support.figures import decoded, num_colored

RANDOM = np.random.default_rng(0)
POSITIVE = RANDOM.random(60) < 0.5
SCORES = np.clip(RANDOM.normal(0.35 + 0.3 * POSITIVE, 0.2), 0, 1).astype(np.float32)
BOOTSTRAP = Bootstrap(groups=[str(number) for number in range(60)], resamples=100)


@pytest.mark.parametrize("number", [2, 10, 21])
def test_a_confusion_matrix_grows_with_its_classes(number: int) -> None:
    names = [f"class {index}" for index in range(number)]
    matrix = {name: {other: 5 * (name == other) for other in names} for name in names}
    image = decoded(plots.confusion(matrix))
    assert image.shape[1] > 300 * 0.42 * number
    # cells on the diagonal are dark, the others white
    assert 0.2 / number < np.mean(image[..., 2] < 60) < 1.5 / number


def test_a_class_without_images_leaves_its_row_white() -> None:
    drawn = plots.confusion({"a": {"a": 3, "b": 1}, "b": {"a": 0, "b": 0}})
    assert np.mean(decoded(drawn)[..., 2] < 60) > 0.02


def test_a_band_is_drawn_if_there_is_one() -> None:
    with_band, without = (
        decoded(plots.roc(curves.roc(SCORES, POSITIVE, bootstrap), title="", threshold=(0.2, 0.7)))
        for bootstrap in (BOOTSTRAP, None)
    )
    assert num_colored(with_band) > 3 * num_colored(without) > 0


def test_the_curve_on_other_images_has_another_color() -> None:
    curve = curves.roc(SCORES, POSITIVE)
    alone, both = (
        decoded(plots.roc(curve, title="", threshold=(0.2, 0.7), others=others))
        for others in (None, {"elsewhere": curves.roc(1 - SCORES, POSITIVE)})
    )
    # orange: red without blue
    assert _num_orange(both) > 200
    assert _num_orange(alone) == 0


def test_uncalibrated_bins_are_drawn_with_the_calibrated_ones() -> None:
    bins = reliability.bins(SCORES, POSITIVE)
    labels = {"title": "", "confidence": "", "share": ""}
    alone = decoded(plots.reliability({"model": bins}, **labels))
    both = decoded(plots.reliability({"calibrated": bins, "uncalibrated": bins}, **labels))
    assert _num_orange(both) > 500
    assert _num_orange(alone) == 0


def test_a_single_bin_can_be_drawn() -> None:
    bins = reliability.bins(np.array([1.0]), np.array([True]))
    drawn = plots.reliability({"model": bins}, title="", confidence="", share="")
    assert num_colored(decoded(drawn)) > 100


def test_each_class_has_a_histogram() -> None:
    by_class = {"normal": SCORES[~POSITIVE], "covid": SCORES[POSITIVE]}
    both = decoded(plots.probabilities(by_class, threshold=0.5, positive="covid"))
    del by_class["normal"]
    alone = decoded(plots.probabilities(by_class, threshold=0.5, positive="covid"))
    assert both.shape[0] > alone.shape[0]
    assert _num_orange(both) > 1000 > _num_orange(alone)


def test_a_model_without_positive_predictions_has_no_operating_point() -> None:
    curve = curves.precision_recall(SCORES, POSITIVE)
    without, with_point = (
        decoded(plots.precision_recall(curve, title="", threshold=point, prevalence=0.5))
        for point in (None, (0.5, 0.1))
    )
    assert num_colored(with_point) > num_colored(without)


def test_the_decision_curve_is_drawn_on_its_band() -> None:
    with_band, without = (
        plots.decision_curve(
            curves.decision(SCORES, POSITIVE, bootstrap=bootstrap), prevalence=0.5, threshold=0.4
        )
        for bootstrap in (BOOTSTRAP, None)
    )
    assert num_colored(decoded(with_band)) > 2 * num_colored(decoded(without)) > 0


def _num_orange(image: np.ndarray) -> int:
    blue, _, red = (image[..., channel].astype(int) for channel in range(3))
    return int(np.sum(red - blue > 90))


def test_the_legend_of_a_roc_covers_no_curve_and_text_has_eight_points() -> None:
    curve = curves.roc(SCORES, POSITIVE)
    others = {f"beside {number}: hospital": curves.roc(1 - SCORES, POSITIVE) for number in range(4)}
    figure = plots.roc(curve, title="AUROC", threshold=(0.2, 0.7), others=others)
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert legend.get_window_extent().y1 <= axes.get_tightbbox().y0
    assert figure.get_figwidth() == 3.5
    assert {axes.title.get_fontsize(), axes.xaxis.label.get_fontsize()} == {8}


def test_the_color_bar_has_the_colors_of_the_overlay() -> None:
    gray = np.full((30, 40), 90, np.uint8)
    heat = np.linspace(0, 1, 40, dtype=np.float32)[np.newaxis].repeat(30, axis=0)
    figure = audit_plots.explanation(gray, heat, "a.png", "covid")
    shown, bar = figure.axes[0].images[0].get_array(), figure.axes[1].collections[-1]
    colors = np.rint(255 * bar.cmap(np.linspace(0, 1, 256))[:, :3])
    nearest = [np.abs(colors - pixel).max(axis=1).min() for pixel in shown[0].astype(int)]
    assert max(nearest) <= 1
    # the plain color map is brighter than any overlay
    assert colors.max() < 200


def test_an_empty_heat_map_says_so_and_has_no_color_bar() -> None:
    empty = np.zeros((8, 8), np.float32)
    figure = audit_plots.explanation(np.zeros((30, 40), np.uint8), empty, "a.png", "covid")
    assert figure.axes[0].get_title() == (
        "a.png\nno evidence for covid in the last layer with an image"
    )
    assert len(figure.axes) == 1


def test_equal_sizes_are_one_large_point_with_their_number() -> None:
    figure = data_plots.sizes({"normal": [(1024, 1024)] * 92, "covid": [(500, 600), (700, 800)]})
    (axes,) = figure.axes
    normal, covid = (points.get_sizes() for points in axes.collections)
    assert len(normal) == 1
    assert normal[0] > 10 * covid.max()
    assert [text.get_text() for text in axes.texts] == ["92"]
    assert figure.legends[0].get_texts()[0].get_text() == "normal (92 images)"


def test_the_legend_of_two_panels_names_each_class_once() -> None:
    shares = {name: np.full(256, 1 / 256, np.float32) for name in ("normal", "covid")}
    figure = data_plots.intensities(shares, {"normal": [90.0], "covid": [120.0]})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["normal", "covid"]


def test_a_grid_draws_each_image_in_its_own_aspect_ratio() -> None:
    square = np.zeros((10, 10), np.uint8)
    figure = data_plots.grid([("wide", square), ("tall", square)], aspects=[0.5, 2.0])
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes[:2]]
    assert [box.height / box.width for box in boxes] == pytest.approx([0.5, 2.0], rel=0.02)


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_is_the_same_vector_file_each_time_with_text_as_text(
    kind: str, start: bytes
) -> None:
    first, second = (
        to_bytes(plots.confusion({"a": {"a": 3, "b": 1}, "b": {"a": 0, "b": 4}}), kind)
        for _ in range(2)
    )
    assert first == second
    assert first.startswith(start)
    assert (b"predicted</text>" if kind == "svg" else b"/FontFile2") in first


@pytest.mark.parametrize("figures", ["jpg", "svg, pdf", "svg,svg", ""])
def test_unknown_formats_of_figures_are_refused(figures: str) -> None:
    with pytest.raises(ConfigError) as refused:
        EvaluateConfig(bundle="b", data="d", figures=figures)
    assert str(refused.value) == (
        "figures must be one or more of png, svg and pdf, with commas and no spaces between "
        f"them, got {figures}."
    )


def test_a_figure_is_written_as_png_and_in_the_formats_of_the_setting(tmp_path: Path) -> None:
    figure = plots.confusion({"a": {"a": 3, "b": 1}, "b": {"a": 0, "b": 4}})
    names = write(str(tmp_path), "confusion", figure, "svg,pdf,png")
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert sorted(names) == ["confusion.pdf", "confusion.png", "confusion.svg"]
