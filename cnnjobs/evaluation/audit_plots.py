"""Plots of what a model's score depends on: AUROC of each occlusion, and Grad-CAM overlays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnjobs.data.plots import grid
from cnnjobs.evaluation import grad_cam, occlusion
from cnnjobs.evaluation.grad_cam import Heat
from cnnjobs.evaluation.shortcut_verdict import AuditRow
from cnnjobs.imaging.plots import COLUMN, in_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_style
def aurocs(rows: Sequence[AuditRow]) -> "Figure":
    """The AUROC of each row with its interval, from top to bottom, and the level of chance."""
    figure = new_figure(COLUMN, 0.8 + 0.24 * len(rows))
    axes = figure.subplots()
    defined = [(row, row.auroc) for row in rows if row.auroc is not None]
    for y, (row, auroc) in enumerate(defined):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color="C0")
        axes.plot(auroc, y, "o", color="C0")
        axes.annotate(f"{auroc:.2f}", (1.05, y), va="center")
    axes.axvline(0.5, color="gray", ls="--", lw=1)
    axes.annotate(" chance", (0.5, len(defined) - 0.5), fontsize=7, color="gray")
    axes.set_yticks(range(len(defined)), [row.name for row, _ in defined])
    axes.set_ylim(len(defined) - 0.4, -0.7)
    axes.set_xlim(-0.02, 1.2)
    axes.set_xlabel("AUROC with 95% interval")
    axes.grid(axis="x")
    return figure


def occluded(image: NDArray[np.uint8], *, border: float, seed: int) -> "Figure":
    """One image, (1, height, width, 1), unchanged and under every occlusion of the audit."""
    occlusions = occlusion.occlusions(*image.shape[1:3], border=border, seed=seed)
    titled = [(name, occlude(image)[0, :, :, 0]) for name, occlude in occlusions.items()]
    return grid([("unchanged", image[0, :, :, 0]), *titled], columns=3)


@in_style
def explanation(gray: NDArray[np.uint8], heat: Heat, title: str, target: str) -> "Figure":
    """An image in its own aspect ratio under the heat of a class, with a color bar.

    Args:
        gray: (height, width).
        heat: from 0 to 1, of any size; if all of it is 0, the title says so.
        title: of the plot.
        target: the class that the heat is evidence for.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    figure = new_figure(COLUMN, 0.8 + 2.7 * gray.shape[0] / gray.shape[1])
    axes = figure.subplots()
    axes.imshow(grad_cam.overlay(gray, heat))
    axes.set_axis_off()
    if not heat.any():
        axes.set_title(f"{title}\nno evidence for {target} in the last layer with an image")
        return figure
    axes.set_title(title)
    # an overlay mixes the heat with the image, so its colors depend on the gray beneath
    middle = int(np.median(gray))
    levels = np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis]
    colors = grad_cam.overlay(np.full(levels.shape, middle, np.uint8), levels)[0] / 255
    figure.colorbar(
        ScalarMappable(cmap=ListedColormap(colors)),
        ax=axes,
        shrink=0.8,
        label=f"evidence for {target}, on the median gray",
    )
    return figure
