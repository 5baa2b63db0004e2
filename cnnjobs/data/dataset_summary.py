"""What there is of each class, what repeats, and what gives a class away; pure tables."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnjobs.data import duplicates
from cnnjobs.imaging.statistics import Look

_HINT = "how the files were made tells the class."


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Smallest, middle and largest of a number over the images of a class."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """The images of one class that can be read; `mean` and `sd` are of their gray levels."""

    num_images: int
    formats: Mapping[str, int]
    width: Spread
    height: Spread
    mean: Spread
    sd: Spread


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Two files that show the same picture, and which borders lie between them."""

    path: str
    copy_of: str
    exact: bool
    across_classes: bool
    across_splits: bool


def copies(rows: Sequence[Mapping[str, Any]], looks: Sequence[Look]) -> list[Copy]:
    """The pairs of files that show one picture: exact ones, then near ones."""
    exact = duplicates.equal_pairs([look.content_hash for look in looks])
    near = [
        (one, other)
        for one, other in duplicates.near_pairs([look.perceptual_hash for look in looks])
        if looks[one].content_hash != looks[other].content_hash
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


def class_summary(looks: Sequence[Look]) -> ClassSummary:
    """Formats, sizes and gray levels of the images of a class that can be read."""
    found = [look.levels for look in looks if look.levels is not None]
    return ClassSummary(
        num_images=len(looks),
        formats=dict(Counter(str(look.format) for look in looks).most_common()),
        width=_spread([look.width for look in looks]),
        height=_spread([look.height for look in looks]),
        mean=_spread([levels.mean for levels in found]),
        sd=_spread([levels.sd for levels in found]),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min=min(values), median=float(np.median(values)), max=max(values))


def told_by_source(by_source: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each source that has one class only, where there are more."""
    if len({label for labels in by_source.values() for label in labels}) < 2:
        return []
    return [
        f"source {source} holds {next(iter(labels))} only: a model can learn to tell the source "
        "(its scanner, size, markers) instead of the class, and its score on these data would "
        "not show it."
        for source, labels in by_source.items()
        if len(labels) == 1
    ]


def told_by_file(classes: Mapping[str, ClassSummary]) -> list[str]:
    """A sentence for each two classes that size or format tell apart."""
    told = []
    for (one, its), (other, others) in itertools.combinations(classes.items(), 2):
        for what, sides in (
            ("narrower", (its.width, others.width)),
            ("lower", (its.height, others.height)),
        ):
            small, large = (one, other) if sides[0].max < sides[1].min else (other, one)
            if sides[0].max < sides[1].min or sides[1].max < sides[0].min:
                told.append(
                    f"every image of {small} is {what} than every image of {large}: {_HINT}"
                )
                break
        if not set(its.formats) & set(others.formats):
            told.append(
                f"{one} is {', '.join(its.formats)}, {other} {', '.join(others.formats)}: {_HINT}"
            )
    return told
