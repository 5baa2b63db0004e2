"""Pictures of numbers, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "auroc": "AUROC"}


def learning_curves(history: Sequence[Mapping[str, float]]) -> bytes:
    """Training and validation curves over the epochs, one panel for each measure there is.

    Args:
        history: one mapping an epoch, with `epoch` and for a measure its name and
            `val_` and its name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = [name for name in _TITLES if name in history[0]]
    figure = Figure(figsize=(4.2 * len(shown), 3.4), layout="constrained")
    epochs = [epoch["epoch"] for epoch in history]
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for key, label, style in ((name, "training", "-o"), (f"val_{name}", "validation", "--s")):
            if key in history[0]:
                axes.plot(epochs, [epoch[key] for epoch in history], style, ms=4, label=label)
        axes.set_title(_TITLES[name])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name != "loss":
            axes.set_ylim(-0.02, 1.02)
    figure.axes[0].legend()
    return _png(figure)


def grid(pictures: Sequence[tuple[str, NDArray[np.uint8]]], *, columns: int = 4) -> bytes:
    """Gray images side by side under their titles.

    Args:
        pictures: title and (height, width) uint8 pixels of each.
        columns: at most so many side by side.
    """
    from matplotlib.figure import Figure

    across = min(columns, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure(figsize=(3.2 * across, 3.5 * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (title, pixels) in zip(places, pictures, strict=False):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=9)
    return _png(figure)


def image_and_histogram(gray: NDArray[np.uint8] | NDArray[np.uint16], title: str) -> bytes:
    """A gray image with a bar of its gray levels, and how many pixels have each, in 256 bins.

    Args:
        gray: (height, width), of 8 bits or more.
        title: to stand above.
    """
    from matplotlib.figure import Figure

    bits = max(8, int(gray.max()).bit_length())
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    picture, histogram = figure.subplots(1, 2)
    shown = picture.imshow(gray, cmap="gray", vmin=0, vmax=2**bits - 1)
    figure.colorbar(shown, ax=picture, shrink=0.9, label="gray level")
    picture.set_title(f"{title}\n{gray.shape[1]} x {gray.shape[0]} pixels", fontsize=10)
    counts, edges = np.histogram(gray, bins=256, range=(0, 2**bits))
    histogram.stairs(counts, edges, fill=True, color="C0")
    histogram.set_xlabel("gray level")
    histogram.set_ylabel("pixels")
    histogram.set_title("256 bins", fontsize=10)
    return _png(figure)


def class_counts(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """A bar a class, in a color a split, with the number of its images behind it.

    Args:
        counts: images by class and split.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.4 + 0.42 * len(counts)), layout="constrained")
    axes = figure.subplots()
    states = list(dict.fromkeys(state for its in counts.values() for state in its))
    left = np.zeros(len(counts))
    for state in states:
        widths = np.array([its.get(state, 0) for its in counts.values()])
        axes.barh(list(counts), widths, left=left, label=state)
        left += widths
    for place, total in enumerate(left):
        axes.annotate(f" {total:,.0f}", (total, place), va="center")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("images")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def sizes(by_class: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """Width and height of every image, in a color a class.

    Args:
        by_class: (width, height) of each image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for label, pairs in by_class.items():
        widths, heights = zip(*pairs, strict=True)
        axes.scatter(widths, heights, s=16, alpha=0.5, label=label)
    axes.set_xlabel("width (pixels)")
    axes.set_ylabel("height (pixels)")
    axes.set_title("Sizes", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def intensities(
    shares: Mapping[str, NDArray[np.float32]], means: Mapping[str, Sequence[float]]
) -> bytes:
    """How gray the images of each class are: all their pixels, and their means.

    Args:
        shares: of 256 gray levels, by class.
        means: of each image's gray levels, by class.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    pixels, images = figure.subplots(1, 2)
    for label, its in shares.items():
        pixels.plot(range(len(its)), its, lw=1, label=label)
    # black borders would flatten all else
    pixels.set_yscale("log")
    pixels.set_title("Pixels", fontsize=10)
    pixels.set_ylabel("share of the pixels")
    edges = np.linspace(0, 256, 33)
    for label, values in means.items():
        images.stairs(np.histogram(values, edges)[0] / len(values), edges, lw=1.5, label=label)
    images.set_title("Mean of each image", fontsize=10)
    images.set_ylabel("share of the images")
    for axes in (pixels, images):
        axes.set_xlabel("gray level (8 bits)")
        axes.grid(alpha=0.3)
    images.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def fold_points(
    values: Mapping[str, Sequence[float]],
    means: Mapping[str, tuple[float, float | None, float | None]],
    sources: Mapping[str, tuple[float, float | None, float | None]],
) -> bytes:
    """A point for each fold, their mean with its interval, and beside them AUROC by source.

    Args:
        values: of each metric, one a fold.
        means: of each metric, mean and ends of its interval.
        sources: AUROC where that source was left out, and ends of its interval.
    """
    from matplotlib.figure import Figure

    rows = {"folds": means["auroc"]} | dict(sources) if "auroc" in means else dict(sources)
    lines = max(len(means), len(rows) if sources else 0)
    panels = bool(means) + bool(sources)
    figure = Figure(figsize=(5.6 * panels, 1.4 + 0.42 * lines), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    if means:
        _intervals(next(axes), means, values, "Tested on each fold (a point each)")
    if sources:
        _intervals(next(axes), rows, {}, "AUROC, tested on a source left out")
    return _png(figure)


def _intervals(
    axes: Any,
    middles: Mapping[str, tuple[float, float | None, float | None]],
    points: Mapping[str, Sequence[float]],
    title: str,
) -> None:
    """A line a name: small points, and over them a value with its interval."""
    for line, (name, (value, low, high)) in enumerate(middles.items()):
        its = points.get(name, ())
        # equal values side by side, not one behind the other
        spread = np.linspace(-0.18, 0.18, len(its)) if len(its) > 1 else np.zeros(len(its))
        axes.scatter(its, line + spread, s=16, color="C0", alpha=0.6)
        if low is not None and high is not None:
            axes.plot([low, high], [line, line], color="C1", lw=2)
        axes.scatter([value], [line], s=42, marker="D", color="C1", zorder=3)
    axes.set_yticks(range(len(middles)), list(middles))
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.7", lw=1, ls=":")
    axes.set_xlim(-0.02, 1.02)
    axes.grid(alpha=0.3, axis="x")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("value, with 95 % interval")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
