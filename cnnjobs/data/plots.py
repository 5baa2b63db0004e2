"""Plots of a data set, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grid(pictures: Sequence[tuple[str, NDArray[np.uint8]]], *, columns: int = 4) -> bytes:
    """Gray images in a grid, each under its title.

    Args:
        pictures: title and (height, width) uint8 pixels of each.
        columns: largest number of columns.
    """
    from matplotlib.figure import Figure

    across = min(columns, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure(figsize=(3.2 * across, 3.5 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, pixels) in zip(panels, pictures, strict=False):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=9)
    return _png(figure)


def image_and_histogram(gray: NDArray[np.uint8] | NDArray[np.uint16], title: str) -> bytes:
    """A gray image with a gray scale, and a histogram of its gray levels in 256 bins.

    Args:
        gray: (height, width), of 8 bits or more.
        title: shown above the image.
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
    """One bar per class, with a color per split and the number of images at its end.

    Args:
        counts: images by class and split.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.4 + 0.42 * len(counts)), layout="constrained")
    axes = figure.subplots()
    splits = list(dict.fromkeys(split for by_split in counts.values() for split in by_split))
    left = np.zeros(len(counts))
    for split in splits:
        widths = np.array([by_split.get(split, 0) for by_split in counts.values()])
        axes.barh(list(counts), widths, left=left, label=split)
        left += widths
    for row, total in enumerate(left):
        axes.annotate(f" {total:,.0f}", (total, row), va="center")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("images")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def sizes(by_class: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """Width and height of every image, with a color per class.

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
    """Distribution of gray levels for each class: over all pixels, and of the images' means.

    Args:
        shares: of 256 gray levels, by class.
        means: of each image's gray levels, by class.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    pixels, images = figure.subplots(1, 2)
    for label, levels in shares.items():
        pixels.plot(range(len(levels)), levels, lw=1, label=label)
    # black borders would flatten everything else
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


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
