"""Plots of an evaluation: confusion matrix, curves and calibration."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnjobs.config.printable import counted
from cnnjobs.imaging.plots import COLUMN, in_style, new_figure
from cnnjobs.metrics.curves import Curve, DecisionCurve
from cnnjobs.metrics.reliability import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With more classes, the cells of a confusion matrix are too small for numbers.
_CLASSES_WITH_NUMBERS = 20

_MODEL, _OTHERS, _REFERENCE = "C0", ("C1", "C2", "C4", "C5"), "0.45"

Point = tuple[float, float]


@in_style
def confusion(matrix: Mapping[str, Mapping[str, int]]) -> "Figure":
    """Images by actual class (rows) and predicted class, colored by their share of the row.

    Args:
        matrix: counts by actual, then predicted class.
    """
    names = list(matrix)
    counts = np.array([[matrix[actual][predicted] for predicted in names] for actual in names])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = max(1.8, 0.42 * len(names))
    figure = new_figure(1.5 + side, 0.9 + side)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the actual class")
    is_crowded = len(names) > 3
    slanted = is_crowded and max(map(len, names)) > 3
    axes.set_xticks(range(len(names)), names, rotation=45 if slanted else 0)
    axes.set_yticks(
        range(len(names)),
        [f"{name}\n({total:,})" for name, total in zip(names, totals[:, 0], strict=True)],
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual (images)")
    axes.set_title(f"{counts.trace():,} of {counts.sum():,} images correct")
    if len(names) > _CLASSES_WITH_NUMBERS:
        return figure
    for (row, column), count in np.ndenumerate(counts):
        if is_crowded and not count:
            continue
        axes.text(
            column,
            row,
            f"{count:,}\n{shares[row, column]:.0%}",
            ha="center",
            va="center",
            fontsize=6 if is_crowded else 9,
            color="white" if shares[row, column] > 0.6 else "black",
        )
    return figure


@in_style
def roc(
    curve: Curve, *, title: str, threshold: Point, others: Mapping[str, Curve] | None = None
) -> "Figure":
    """Sensitivity over 1 - specificity.

    Args:
        curve: of the model.
        title: of the plot.
        threshold: the operating point.
        others: curves of the same model on other images, by name.
    """
    figure, axes = _unit_square("1 - specificity", "sensitivity", title)
    axes.plot([0, 1], [0, 1], "--", color=_REFERENCE, lw=1, label="chance")
    _draw(axes, curve, "test" if others else "model")
    for color, (name, other) in zip(itertools.cycle(_OTHERS), (others or {}).items(), strict=False):
        axes.plot(other.x, other.y, color=color, label=name)
    axes.plot(*threshold, "o", color=_MODEL, mec="white", ms=6, label="at the threshold")
    _legend_below(figure)
    return figure


@in_style
def precision_recall(
    curve: Curve, *, title: str, threshold: Point | None, prevalence: float
) -> "Figure":
    """Precision (PPV) over recall (sensitivity).

    Args:
        curve: of the model.
        title: of the plot.
        threshold: the operating point; None if the model predicts no image positive.
        prevalence: share of positives, which is the precision of chance.
    """
    figure, axes = _unit_square("recall (sensitivity)", "precision (PPV)", title)
    axes.axhline(prevalence, ls="--", color=_REFERENCE, lw=1, label=f"chance ({prevalence:.2f})")
    _draw(axes, curve, "model", steps=True)
    if threshold is not None:
        axes.plot(*threshold, "o", color=_MODEL, mec="white", ms=6, label="at the threshold")
    _legend_below(figure)
    return figure


@in_style
def reliability(
    series: Mapping[str, Sequence[Bin]], *, title: str, confidence: str, share: str
) -> "Figure":
    """Observed share over predicted probability, with a histogram of the images below.

    Args:
        series: bins by name, the model's first.
        title: of the plot.
        confidence: label of the probability.
        share: label of the observed share.
    """
    figure = new_figure(COLUMN, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    above.plot([0, 1], [0, 1], "--", color=_REFERENCE, lw=1, label="perfect")
    for index, (name, bins) in enumerate(series.items()):
        color, style = ((_MODEL, "-o"), (_OTHERS[0], ":s"))[index]
        means, shares = ([getattr(each, key) for each in bins] for key in ("confidence", "share"))
        above.plot(means, shares, style, color=color, label=name)
        counts, edges = _steps(bins)
        below.stairs(counts, edges, color=color, ls=style[0], fill=index == 0, alpha=0.6)
        if index == 0:
            low, high = zip(*(each.interval for each in bins), strict=True)
            above.vlines(means, low, high, color=color, lw=1, alpha=0.6)
    above.set_ylim(-0.03, 1.03)
    above.set_ylabel(share)
    above.set_title(title)
    _legend_below(figure, above)
    below.set_xlim(-0.03, 1.03)
    below.set_xlabel(confidence)
    below.set_ylabel("images")
    for axes in (above, below):
        axes.grid()
    return figure


@in_style
def probabilities(
    by_class: Mapping[str, NDArray[np.float32]], *, threshold: float, positive: str
) -> "Figure":
    """A histogram of the probabilities of each class, one panel per class.

    Args:
        by_class: probabilities of the positive class, by actual class.
        threshold: images at or above it are predicted positive.
        positive: name of the positive class.
    """
    figure = new_figure(COLUMN, 0.4 + 1.4 * len(by_class))
    panels = figure.subplots(len(by_class), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for index, (axes, (name, values)) in enumerate(zip(panels, by_class.items(), strict=True)):
        counts, edges = np.histogram(values, bins=20, range=(0, 1))
        axes.stairs(counts, edges, fill=True, color=f"C{index}", alpha=0.75)
        axes.axvline(threshold, ls="--", color="black", lw=1)
        predicted = np.mean(np.asarray(values) >= threshold)
        number = counted(len(values), "image")
        axes.set_title(f"{name}: {number}, {predicted:.0%} predicted {positive}")
        axes.set_ylabel("images")
        axes.grid()
    panels[-1].set_xlabel(f"probability of {positive} (dashed: threshold {threshold:.3g})")
    panels[-1].set_xlim(-0.02, 1.02)
    return figure


@in_style
def decision_curve(curve: DecisionCurve, *, prevalence: float, threshold: float) -> "Figure":
    """Net benefit of treating by the model, compared with treating all and none.

    Args:
        curve: over the thresholds.
        prevalence: share of positives that the curve assumes.
        threshold: of the model.
    """
    figure = new_figure(COLUMN, 3)
    axes = figure.subplots()
    axes.axhline(0, color="black", lw=1, label="treat none")
    axes.plot(curve.model.x, curve.treat_all, "--", color=_REFERENCE, label="treat all")
    _draw(axes, curve.model, "treat by the model")
    axes.axvline(threshold, ls=":", color=_MODEL, lw=1, label="the model's threshold")
    # the loss of treating all is unbounded at high thresholds
    axes.set_ylim(-0.25 * prevalence, 1.1 * prevalence)
    axes.set_xlim(0, 1)
    axes.set_xlabel("threshold probability for treatment")
    axes.set_ylabel("net benefit (true positives per image)")
    axes.set_title(f"Decision curve, {prevalence:.3g} of the images positive")
    axes.grid()
    _legend_below(figure)
    return figure


def _draw(axes: "Axes", curve: Curve, name: str, *, steps: bool = False) -> None:
    """Draw the curve on top of its band."""
    if curve.band is not None:
        axes.fill_between(
            curve.band.x,
            curve.band.low,
            curve.band.high,
            color=_MODEL,
            alpha=0.18,
            lw=0,
            label="95% band",
        )
    style = "steps-pre" if steps else "default"
    axes.plot(curve.x, curve.y, color=_MODEL, drawstyle=style, label=name)


def _legend_below(figure: "Figure", axes: "Axes | None" = None) -> None:
    """The legend under everything else, where no curve is."""
    handles, labels = (axes or figure.axes[0]).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _steps(bins: Sequence[Bin]) -> tuple[list[int], list[float]]:
    """Counts and edges of adjacent bins, including empty ones."""
    counts: list[int] = []
    edges = [0.0]
    for each in bins:
        if each.low > edges[-1]:
            counts.append(0)
            edges.append(each.low)
        counts.append(each.num_images)
        edges.append(each.high)
    return counts, edges


def _unit_square(x_label: str, y_label: str, title: str) -> tuple["Figure", "Axes"]:
    """Square axes from 0 to 1."""
    figure = new_figure(COLUMN, 4)
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    axes.grid()
    return figure, axes
