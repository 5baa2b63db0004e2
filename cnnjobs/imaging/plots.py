"""Figures drawn without a display, and their PNG bytes."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: In the first bytes of every PNG that is drawn here.
MARK = b"Matplotlib"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sides in inches, that lays out its axes without overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def to_png(figure: "Figure") -> bytes:
    """The figure as PNG bytes, 120 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
