"""Tables and counts as text, for the summaries of several commands."""

from collections.abc import Mapping, Sequence
from typing import Any

#: A longer list of examples is cut off; --json has all of it.
_EXAMPLES = 5


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns under a header: text to the left, numbers to the right."""
    cells = [list(header)] + [[cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    is_text = [any(isinstance(row[column], str) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            content.ljust(width) if left else content.rjust(width)
            for content, width, left in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value of a table: integers with thousands separators, floats to four decimals."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def interval(bounds: Sequence[float] | None) -> str:
    """An interval of a metric; a dash if there is none."""
    return "-" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def counts(numbers: Mapping[str, int]) -> str:
    """`name number, ...` in the order of the mapping."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def largest_first(numbers: Mapping[str, int]) -> str:
    """`name number, ...`, the largest number first."""
    return counts(dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0]))))


def class_counts(images: Mapping[str, Mapping[str, int]]) -> str:
    """One row per class and one column per split; splits without images are left out."""
    splits = [
        split
        for split in ("train", "validation", "test", "no split", "unreadable")
        if any(split in of_class for of_class in images.values())
    ]
    rows = [
        [label, *(of_class.get(split, 0) for split in splits), sum(of_class.values())]
        for label, of_class in images.items()
    ]
    return table(["class", *splits, "all"], rows)


def source_counts(images: Mapping[str, Mapping[str, int]]) -> str:
    """One row per source and one column per class."""
    labels = sorted({label for of_source in images.values() for label in of_source})
    rows = [
        [source, *(of_source.get(label, 0) for label in labels)]
        for source, of_source in images.items()
    ]
    return table(["source", *labels], rows)


def examples(lines: Sequence[str]) -> list[str]:
    """The first few lines, indented, and how many more there are."""
    more = len(lines) - _EXAMPLES
    return [
        *(f"  {line}" for line in lines[:_EXAMPLES]),
        *([f"  ... and {more} more"] if more > 0 else []),
    ]
