"""What `inspect` saw, as text for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.tables import class_counts, source_counts, table

if TYPE_CHECKING:
    from cnnjobs.data.dataset_summary import Copy, Spread
    from cnnjobs.data.inspect import DataSummary, ImageSummary

#: How many examples of a kind are shown; --json has them all.
_EXAMPLES = 5


def describe(summary: "ImageSummary | DataSummary") -> str:
    """The summary of one image, or of a data set."""
    from cnnjobs.data.inspect import ImageSummary

    return image_text(summary) if isinstance(summary, ImageSummary) else data_text(summary)


def image_text(summary: "ImageSummary") -> str:
    """Size and gray levels in the lab sheet's words, then what the header says."""
    header, levels = summary.header, summary.levels
    depth = f"{header.bits} bits a sample" if header.bits is not None else "depth not stated"
    parts = [
        f"{summary.path}: {header.format.upper()}, {depth}, {header.color or 'color not stated'}, "
        f"{summary.size_bytes:,} bytes",
        f"{summary.height} pixels height and {summary.width} pixels width",
        f"max {levels.max}, min {levels.min}, mean {levels.mean:.4f}, "
        f"standard deviation {levels.sd:.4f}",
        *(f"{name}: {value}" for name, value in header.tags.items()),
    ]
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    if summary.plot:
        parts.append(f"drawn: {summary.plot}")
    return "\n".join(parts)


def data_text(summary: "DataSummary") -> str:
    """The classes, the sources, and what should be put right before training."""
    parts = [
        f"{summary.num_images} images in {summary.data}",
        class_counts(summary.counts),
        _sizes(summary),
        source_counts(summary.sources),
        *(f"warning: {warning}" for warning in summary.warnings),
        *_copies(summary.copies),
    ]
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
        parts += _some([f"{path} ({error})" for path, error in summary.unreadable.items()])
    parts += [f"drawn: {file}" for file in summary.plots]
    return "\n".join(parts)


def _sizes(summary: "DataSummary") -> str:
    """A row a class: formats, and the median of each number with its range."""
    rows = [
        [
            label,
            ", ".join(f"{name} {number}" for name, number in its.formats.items()),
            _range(its.width),
            _range(its.height),
            _range(its.mean),
            _range(its.sd),
        ]
        for label, its in summary.classes.items()
    ]
    return table(["class", "format", "width", "height", "mean gray", "sd of gray"], rows)


def _copies(copies: Sequence["Copy"]) -> list[str]:
    """How many there are, and examples: those across classes and splits first."""
    exact = sum(copy.exact for copy in copies)
    classes = sum(copy.across_classes for copy in copies)
    splits = sum(copy.across_splits for copy in copies)
    worst = sorted(copies, key=lambda copy: -(copy.across_classes + copy.across_splits))
    return [
        f"pairs of copies: {exact} exact, {len(copies) - exact} near; {classes} across classes, "
        f"{splits} across splits",
        *_some([_pair(copy) for copy in worst]),
    ]


def _pair(copy: "Copy") -> str:
    told = ["exact" if copy.exact else "near"]
    told += ["across classes"] if copy.across_classes else []
    told += ["across splits"] if copy.across_splits else []
    return f"{copy.path} and {copy.copy_of} ({', '.join(told)})"


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _EXAMPLES
    return [
        *(f"  {line}" for line in lines[:_EXAMPLES]),
        *([f"  ... and {more} more"] if more > 0 else []),
    ]


def _range(spread: "Spread") -> str:
    return f"{spread.median:.0f} ({spread.min:.0f} to {spread.max:.0f})"
