"""Plots of what a model's score depends on: AUROC of each occlusion, and Grad-CAM overlays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnjobs.data.plots import grid
from cnnjobs.evaluation import grad_cam, occlusion
from cnnjobs.evaluation.grad_cam import Heat
from cnnjobs.evaluation.shortcut_verdict import AuditRow
from cnnjobs.imaging.plots import new_figure, to_png


def aurocs(rows: Sequence[AuditRow], title: str) -> bytes:
    """The AUROC of each row with its interval, from top to bottom, and the level of chance."""
    figure = new_figure(8, 1.6 + 0.4 * len(rows))
    axes = figure.subplots()
    defined = [(row, row.auroc) for row in rows if row.auroc is not None]
    for y, (row, auroc) in enumerate(defined):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color="C0", lw=2)
        axes.plot(auroc, y, "o", color="C0", ms=7)
        axes.annotate(f"{auroc:.2f}", (1.02, y), va="center")
    axes.axvline(0.5, color="gray", ls="--", lw=1)
    axes.annotate(" chance", (0.5, len(defined) - 0.5), fontsize=8, color="gray")
    axes.set_yticks(range(len(defined)), [row.name for row, _ in defined])
    axes.set_ylim(len(defined) - 0.4, -0.7)
    axes.set_xlim(-0.02, 1.1)
    axes.set_xlabel("AUROC with 95% interval")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=9, wrap=True)
    return to_png(figure)


def occluded(image: NDArray[np.uint8], *, border: float, seed: int) -> bytes:
    """One image, (1, height, width, 1), unchanged and under every occlusion of the audit."""
    occlusions = occlusion.occlusions(*image.shape[1:3], border=border, seed=seed)
    titled = [(name, occlude(image)[0, :, :, 0]) for name, occlude in occlusions.items()]
    return grid([("unchanged", image[0, :, :, 0]), *titled], columns=3)


def explanation(gray: NDArray[np.uint8], heat: Heat, title: str, target: str) -> bytes:
    """An image in its own aspect ratio under the heat of a class, with a color bar.

    Args:
        gray: (height, width).
        heat: from 0 to 1, of any size.
        title: of the plot.
        target: the class that the heat is evidence for.
    """
    from matplotlib.cm import ScalarMappable

    figure = new_figure(6.4, 1.2 + 5 * gray.shape[0] / gray.shape[1])
    axes = figure.subplots()
    axes.imshow(grad_cam.overlay(gray, heat))
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    figure.colorbar(
        ScalarMappable(cmap="inferno"), ax=axes, shrink=0.8, label=f"evidence for {target}"
    )
    return to_png(figure)
