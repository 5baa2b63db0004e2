"""Learning curves, and the metrics of a cross-validation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjobs.imaging.plots import COLUMN, PAGE, in_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRICS = {"loss": "Loss", "accuracy": "Accuracy", "auroc": "AUROC"}

_MEASURES = {
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "images_per_second": "Images per second",
    "wait_share": "Share of time waiting for images",
}

_FROM_0_TO_1 = ("accuracy", "auroc", "wait_share")

#: A value with the ends of its interval, if there is one.
Estimated = tuple[float, float | None, float | None]


@in_style
def learning_curves(history: Sequence[Mapping[str, float | None]]) -> "Figure":
    """Training and validation curves over the epochs, one panel per metric in the history.

    Args:
        history: one mapping per epoch, with `epoch`, metrics by name, and the metrics of the
            validation split under `val_` and their name.
    """
    figure = _over_epochs(history, _METRICS)
    figure.axes[0].legend()
    return figure


@in_style
def training_measures(history: Sequence[Mapping[str, float | None]]) -> "Figure":
    """Learning rate, gradient norm, speed and waiting over the epochs, a panel for each known.

    Args:
        history: as in `learning_curves`, with at least one of them.
    """
    return _over_epochs(history, _MEASURES)


def has_measures(history: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether `training_measures` can draw anything."""
    return bool(_known(history, _MEASURES))


def _over_epochs(
    history: Sequence[Mapping[str, float | None]], titles: Mapping[str, str]
) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    shown = _known(history, titles)
    figure = new_figure(PAGE / 3 * max(len(shown), 1.5), 2.2)
    epochs = [epoch["epoch"] for epoch in history]
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for key, label, style in ((name, "training", "-o"), (f"val_{name}", "validation", "--s")):
            if _known(history, [key]):
                values = [epoch.get(key) for epoch in history]
                axes.plot(epochs, values, style, label=label)
        axes.set_title(titles[name])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid()
        if name in _FROM_0_TO_1:
            axes.set_ylim(-0.02, 1.02)
    return figure


def _known(history: Sequence[Mapping[str, float | None]], names: Iterable[str]) -> list[str]:
    """Those of the names that any epoch has a value of."""
    return [name for name in names if any(epoch.get(name) is not None for epoch in history)]


@in_style
def fold_metrics(
    values: Mapping[str, Sequence[float]],
    means: Mapping[str, Estimated],
    sources: Mapping[str, Estimated],
) -> "Figure":
    """Each metric's mean over the folds and its value in each fold; next to it, AUROC by source.

    Args:
        values: of each metric, one per fold.
        means: of each metric, over the folds.
        sources: AUROC on each source that was left out of training.
    """
    rows = {"folds": means["auroc"]} | dict(sources) if "auroc" in means else dict(sources)
    num_rows = max(len(means), len(rows) if sources else 0)
    num_panels = bool(means) + bool(sources)
    figure = new_figure(COLUMN * num_panels, 0.8 + 0.26 * num_rows)
    panels = iter(figure.subplots(1, num_panels, squeeze=False)[0])
    if means:
        _draw_intervals(next(panels), means, values, "Tested on each fold (one point per fold)")
    if sources:
        _draw_intervals(next(panels), rows, {}, "AUROC, tested on a source left out")
    return figure


def _draw_intervals(
    axes: "Axes",
    estimates: Mapping[str, Estimated],
    points: Mapping[str, Sequence[float]],
    title: str,
) -> None:
    """One row per name: small points, and over them a value with its interval."""
    for row, (name, (value, low, high)) in enumerate(estimates.items()):
        small = points.get(name, ())
        # equal values next to each other, not on top of each other
        offsets = np.linspace(-0.18, 0.18, len(small)) if len(small) > 1 else np.zeros(len(small))
        axes.scatter(small, row + offsets, s=9, color="C0", alpha=0.6)
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color="C1", lw=1.2)
        axes.scatter([value], [row], s=22, marker="D", color="C1", zorder=3)
    axes.set_yticks(range(len(estimates)), list(estimates))
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.7", lw=1, ls=":")
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x")
    axes.set_title(title)
    axes.set_xlabel("value, with 95% interval")
