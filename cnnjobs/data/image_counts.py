"""How many images of each kind there are, a few rows at a time."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.data import external_sort
from cnnjobs.data.images import Images
from cnnjobs.data.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of images.

    Attributes:
        by_label: by label, and then by split, or by the reason why they have none.
        by_source: readable ones, by source, and then by label.
        unreadable: errors by path.
        num_unlabelled: those without a label.
    """

    by_label: Mapping[str, Mapping[str, int]]
    by_source: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    num_unlabelled: int


def of(images: Images) -> Counts:
    """Count all images."""
    states: Counter[tuple[str, str]] = Counter()
    in_sources: Counter[tuple[str, str]] = Counter()
    unreadable: dict[str, str] = {}
    num_unlabelled = 0
    for rows in images.rows("all", ["path", "label", "source", "split", "error"]):
        split = pc.fill_null(rows["split"], "no split")
        state = pc.if_else(pc.is_valid(rows["error"]), "unreadable", split)
        states += _pairs(rows["label"], state)
        is_usable = pc.is_null(rows["error"])
        in_sources += _pairs(rows["source"].filter(is_usable), rows["label"].filter(is_usable))
        bad = rows.filter(pc.invert(is_usable))
        unreadable.update(zip(bad["path"].to_pylist(), bad["error"].to_pylist(), strict=True))
        num_unlabelled += rows["label"].null_count
    return Counts(
        by_label=_crossed(states),
        by_source=_crossed(in_sources),
        unreadable=unreadable,
        num_unlabelled=num_unlabelled,
    )


def by_label(images: Images) -> Counter[str]:
    """How many images have each label, or none."""
    labels: Counter[str] = Counter()
    for rows in images.rows("all", ["label"]):
        found = pc.value_counts(rows["label"].fill_null("no label")).to_pylist()
        labels.update({item["values"]: item["counts"] for item in found})
    return labels


def num_groups(images: Images) -> int:
    """How many groups the readable images are."""
    if isinstance(images, Manifest):
        table = images.table
        held: int = pc.count_distinct(table["group"].filter(pc.is_null(table["error"]))).as_py()
        return held
    number, last = 0, None
    for rows in external_sort.by("group", _readable_groups(images)):
        groups = pc.unique(rows["group"])
        number += len(groups) - (groups[0].as_py() == last)
        last = groups[-1].as_py()
    return number


def _readable_groups(images: Images) -> Iterator[pa.Table]:
    for rows in images.rows("all", ["group", "error"]):
        groups = rows.filter(pc.is_null(rows["error"])).select(["group"])
        yield groups.drop_null()


def _pairs(first: pa.ChunkedArray, second: pa.ChunkedArray) -> Counter[tuple[str, str]]:
    """How often each pair of values occurs in a row; rows that lack one do not count."""
    pairs = pa.table({"first": first, "second": second}).drop_null()
    found = pairs.group_by(["first", "second"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(row["first"], row["second"]): row["count_all"] for row in found})


def _crossed(pairs: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (first, second), number in sorted(pairs.items()):
        counts.setdefault(first, {})[second] = number
    return counts
