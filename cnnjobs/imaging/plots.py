"""Figures drawn without a display: their style, and their bytes in any format.

Sides are those of a column in a journal (3.5 inches) or of a page (7), so that text of 8 points
is read at 8 points.
"""

import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from cnnjobs.storage import filesystem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: In the first bytes of every PNG that is drawn here.
MARK = b"Matplotlib"

#: Widths in inches.
COLUMN, PAGE = 3.5, 7.0

#: Dots per inch of a PNG, and of images in the other formats.
_DPI = 300

_STYLE: dict[Any, Any] = {
    "font.size": 8,
    **{f"{part}.titlesize": 8 for part in ("axes", "figure")},
    **{f"{part}.labelsize": 8 for part in ("axes", "xtick", "ytick")},
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.linewidth": 0.6,
    **{f"axes.spines.{side}": False for side in ("top", "right")},
    "grid.linewidth": 0.4,
    "grid.alpha": 0.4,
    # text stays text, for those who typeset it
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    # the same file each time
    "svg.hashsalt": "cnnjobs",
}

_P = ParamSpec("_P")


def in_style(draw: "Callable[_P, Figure]") -> "Callable[_P, Figure]":
    """Decorator: what the function draws has the style of all figures."""

    @functools.wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> "Figure":
        from matplotlib import rc_context

        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sides in inches, that lays out its axes without overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write(folder: str, name: str, figure: "Figure", figures: str = "png") -> list[str]:
    """Write a figure as PNG and in the formats of a setting `figures`; returns the files' names."""
    names = file_names(name, figures)
    for file in names:
        data = to_bytes(figure, file.rpartition(".")[2])
        filesystem.write_bytes(filesystem.join(folder, file), data)
    return names


def file_names(name: str, figures: str) -> list[str]:
    """The names of the files that `write` makes of one figure."""
    return [f"{name}.{kind}" for kind in dict.fromkeys(["png", *figures.split(",")])]


def to_bytes(figure: "Figure", kind: str = "png") -> bytes:
    """The figure as the bytes of a file: png, svg or pdf."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata=undated.get(kind))
    return buffer.getvalue()
