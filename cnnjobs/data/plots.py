"""Plots of a data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnjobs.config.printable import counted
from cnnjobs.imaging.plots import COLUMN, PAGE, in_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Area of the point of the commonest size, in square points.
_LARGEST_AREA = 300

#: Sizes of each class whose number is written, if they have so many images.
_COUNTED, _MANY = 5, 5


@in_style
def grid(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    columns: int = 4,
    aspects: Sequence[float] | None = None,
) -> "Figure":
    """Gray images in a grid, each under its title.

    Args:
        pictures: title and (height, width) uint8 pixels of each.
        columns: largest number of columns.
        aspects: height over width at which each is drawn; None: those of the pixels.
    """
    across = min(columns, len(pictures))
    down = -(-len(pictures) // across)
    figure = new_figure(PAGE / columns * across, 2.1 * down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for index, (axes, (title, pixels)) in enumerate(zip(panels, pictures, strict=False)):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        if aspects is not None:
            axes.set_aspect(aspects[index] * pixels.shape[1] / pixels.shape[0])
        axes.set_title(title, fontsize=7)
    return figure


@in_style
def image_and_histogram(gray: NDArray[np.uint8] | NDArray[np.uint16], title: str) -> "Figure":
    """A gray image with a gray scale, and a histogram of its gray levels in 256 bins.

    Args:
        gray: (height, width), of 8 bits or more.
        title: shown above the image.
    """
    bits = max(8, int(gray.max()).bit_length())
    figure = new_figure(PAGE, 3)
    picture, histogram = figure.subplots(1, 2)
    shown = picture.imshow(gray, cmap="gray", vmin=0, vmax=2**bits - 1)
    figure.colorbar(shown, ax=picture, shrink=0.9, label="gray level")
    picture.set_title(f"{title}\n{gray.shape[1]} x {gray.shape[0]} pixels")
    counts, edges = np.histogram(gray, bins=256, range=(0, 2**bits))
    histogram.stairs(counts, edges, fill=True, color="C0")
    histogram.set_xlabel("gray level")
    histogram.set_ylabel("pixels")
    histogram.set_title("256 bins")
    return figure


@in_style
def class_counts(counts: Mapping[str, Mapping[str, int]]) -> "Figure":
    """One bar per class, with a color per split and the number of images at its end.

    Args:
        counts: images by class and split.
    """
    figure = new_figure(COLUMN, 1 + 0.28 * len(counts))
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
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@in_style
def sizes(by_class: Mapping[str, Sequence[tuple[int, int]]]) -> "Figure":
    """Width and height of every image, with a color per class; equal sizes are one larger point.

    Args:
        by_class: (width, height) of each image.
    """
    from matplotlib.lines import Line2D

    figure = new_figure(COLUMN, 3.2)
    axes = figure.subplots()
    counts = {label: Counter(pairs) for label, pairs in by_class.items()}
    largest = max(max(of_class.values()) for of_class in counts.values())
    points = []
    for index, (label, of_class) in enumerate(counts.items()):
        sizes = np.array(list(of_class))
        number = np.array(list(of_class.values()))
        # the area grows with the images of that size
        areas = 8 + _LARGEST_AREA * (number - 1) / max(1, largest - 1)
        color = f"C{index}"
        axes.scatter(sizes[:, 0], sizes[:, 1], s=areas, color=color, alpha=0.5, lw=0)
        # in the legend, points of all classes have one size
        name = f"{label} ({counted(number.sum(), 'image')})"
        points.append(Line2D([], [], marker="o", ls="", color=color, alpha=0.5, label=name))
        for size, count in of_class.most_common(_COUNTED):
            if count >= _MANY:
                axes.annotate(f"{count:,}", size, ha="center", va="center", fontsize=7)
    axes.margins(0.1)
    axes.set_xlabel("width (pixels)")
    axes.set_ylabel("height (pixels)")
    axes.set_title("Sizes; an area stands for the number of images")
    axes.grid()
    figure.legend(handles=points, loc="outside lower center", ncols=3)
    return figure


@in_style
def intensities(
    shares: Mapping[str, NDArray[np.float32]], means: Mapping[str, Sequence[float]]
) -> "Figure":
    """Distribution of gray levels for each class: over all pixels, and of the images' means.

    Args:
        shares: of 256 gray levels, by class.
        means: of each image's gray levels, by class.
    """
    figure = new_figure(PAGE, 2.8)
    pixels, images = figure.subplots(1, 2)
    for label, levels in shares.items():
        pixels.plot(range(len(levels)), levels, lw=1, label=label)
    # black borders would flatten everything else
    pixels.set_yscale("log")
    pixels.set_title("Pixels")
    pixels.set_ylabel("share of the pixels")
    edges = np.linspace(0, 256, 33)
    for label, values in means.items():
        images.stairs(np.histogram(values, edges)[0] / len(values), edges, lw=1.5, label=label)
    images.set_title("Mean of each image")
    images.set_ylabel("share of the images")
    for axes in (pixels, images):
        axes.set_xlabel("gray level (8 bits)")
        axes.grid()
    # both panels have the same curves
    figure.legend(*pixels.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
