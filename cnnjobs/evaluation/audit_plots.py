"""Pictures of what a model looks at, as PNG bytes: the audit's, and Grad-CAM's."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnjobs.data.plots import grid
from cnnjobs.evaluation import grad_cam, occlusion
from cnnjobs.evaluation.grad_cam import Heat
from cnnjobs.evaluation.shortcut_verdict import AuditRow
from cnnjobs.imaging.plots import new_figure, to_png


def aurocs(rows: Sequence[AuditRow], line: str) -> bytes:
    """The AUROC of each change with its interval, chance marked.

    Args:
        rows: of the audit, drawn downwards.
        line: to stand above.
    """
    figure = new_figure(8, 1.6 + 0.4 * len(rows))
    axes = figure.subplots()
    known = [(row, row.auroc) for row in rows if row.auroc is not None]
    for place, (row, value) in enumerate(known):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color="C0", lw=2)
        axes.plot(value, place, "o", color="C0", ms=7)
        axes.annotate(f"{value:.2f}", (1.02, place), va="center")
    axes.axvline(0.5, color="gray", ls="--", lw=1)
    axes.annotate(" chance", (0.5, len(known) - 0.5), fontsize=8, color="gray")
    axes.set_yticks(range(len(known)), [row.name for row, _ in known])
    axes.set_ylim(len(known) - 0.4, -0.7)
    axes.set_xlim(-0.02, 1.1)
    axes.set_xlabel("AUROC with its 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(line, fontsize=9, wrap=True)
    return to_png(figure)


def changed(image: NDArray[np.uint8], *, border: float, seed: int) -> bytes:
    """One image, (1, height, width, 1), as it is and under every change of the audit."""
    ways = occlusion.ways(*image.shape[1:3], border=border, seed=seed)
    titled = [(name, change(image)[0, :, :, 0]) for name, change in ways.items()]
    return grid([("unchanged", image[0, :, :, 0]), *titled], columns=3)


def explained(gray: NDArray[np.uint8], heat: Heat, title: str, towards: str) -> bytes:
    """An image in its own aspect under the heat of a class, with a bar of the colors.

    Args:
        gray: (height, width).
        heat: from 0 to 1, of any size.
        title: to stand above.
        towards: the class that the heat speaks for.
    """
    from matplotlib.cm import ScalarMappable

    figure = new_figure(6.4, 1.2 + 5 * gray.shape[0] / gray.shape[1])
    axes = figure.subplots()
    axes.imshow(grad_cam.overlay(gray, heat))
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    figure.colorbar(
        ScalarMappable(cmap="inferno"), ax=axes, shrink=0.8, label=f"speaks for {towards}"
    )
    return to_png(figure)
