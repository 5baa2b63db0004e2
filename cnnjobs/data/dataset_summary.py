"""Per class: sizes, gray levels, duplicates, and what gives the class away. Pure tables."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cnnjobs.data import duplicates
from cnnjobs.imaging.statistics import Measurements

_HINT = "how the files were made reveals the class."


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Smallest, median and largest value over the images of a class."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True)
class FileSpread:
    """The files of one class."""

    num_images: int
    formats: Mapping[str, int]
    width: Spread
    height: Spread


@dataclass(frozen=True, kw_only=True)
class ClassSummary(FileSpread):
    """The readable images of one class; `mean` and `sd` describe their gray levels."""

    mean: Spread
    sd: Spread


class ImageFile(Protocol):
    """What is known of a file without its pixels."""

    @property
    def format(self) -> str | None:
        """Such as png."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Two files that show the same picture, and which boundaries lie between them."""

    path: str
    copy_of: str
    exact: bool
    across_classes: bool
    across_splits: bool


def copies(rows: Sequence[Mapping[str, Any]], images: Sequence[Measurements]) -> list[Copy]:
    """Pairs of files that show the same picture: exact ones, then near ones."""
    exact = duplicates.equal_pairs([image.content_hash for image in images])
    near = [
        (one, other)
        for one, other in duplicates.near_pairs([image.perceptual_hash for image in images])
        if images[one].content_hash != images[other].content_hash
    ]
    return [
        Copy(
            path=rows[other]["path"],
            copy_of=rows[one]["path"],
            exact=is_exact,
            across_classes=rows[one]["label"] != rows[other]["label"],
            across_splits=rows[one]["split"] != rows[other]["split"],
        )
        for pairs, is_exact in ((exact, True), (near, False))
        for one, other in pairs
    ]


def class_summary(images: Sequence[Measurements]) -> ClassSummary:
    """Formats, sizes and gray levels of the readable images of a class."""
    found = [image.levels for image in images if image.levels is not None]
    return ClassSummary(
        **vars(file_spread(images)),
        mean=_spread([levels.mean for levels in found]),
        sd=_spread([levels.sd for levels in found]),
    )


def file_spread(images: Sequence[ImageFile]) -> FileSpread:
    """Formats and sizes of the files of a class."""
    return FileSpread(
        num_images=len(images),
        formats=dict(Counter(str(image.format) for image in images).most_common()),
        width=_spread([image.width for image in images]),
        height=_spread([image.height for image in images]),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min=min(values), median=float(np.median(values)), max=max(values))


def source_warnings(by_source: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each source with only one class, if there are more."""
    if len({label for labels in by_source.values() for label in labels}) < 2:
        return []
    return [
        f"source {source} has only {next(iter(labels))}: a model can learn to recognize the source "
        "(its scanner, size, markers) instead of the class, and its score on these data would "
        "not show it."
        for source, labels in by_source.items()
        if len(labels) == 1
    ]


def file_warnings(classes: Mapping[str, FileSpread]) -> list[str]:
    """A sentence for each two classes that can be separated by size or format."""
    warnings = []
    for (one, ours), (other, theirs) in itertools.combinations(classes.items(), 2):
        for what, sides in (
            ("narrower", (ours.width, theirs.width)),
            ("lower", (ours.height, theirs.height)),
        ):
            small, large = (one, other) if sides[0].max < sides[1].min else (other, one)
            if sides[0].max < sides[1].min or sides[1].max < sides[0].min:
                warnings.append(
                    f"every image of {small} is {what} than every image of {large}: {_HINT}"
                )
                break
        if not set(ours.formats) & set(theirs.formats):
            warnings.append(
                f"{one} is {', '.join(ours.formats)}, {other} {', '.join(theirs.formats)}: {_HINT}"
            )
    return warnings
