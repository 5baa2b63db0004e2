"""Which images train, validate and test: decided by group, label and seed alone."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.errors import InputError


def assign_splits(
    labels: Sequence[str] | pa.ChunkedArray,
    groups: Sequence[str] | pa.ChunkedArray,
    *,
    shares: Mapping[str, float],
    seed: int,
    fixed: Mapping[str, str] | None = None,
    parts: str = "splits",
    advice: str = "index with --no-split",
) -> list[str]:
    """The split of each row: whole groups, close to its share of every label.

    Depends on the labels, the groups and the seed, not on the order of the rows. First, every split
    gets one group of every label, so none lacks a class. Then groups are assigned, large ones first
    and equal ones in an order drawn from the seed, to the split that lacks most.

    Args:
        labels: of each row.
        groups: of each row; rows of one group get the same split.
        shares: of the rows, by split; a share of 0 gets nothing.
        seed: any whole number.
        fixed: split by group, for groups that have one already; then a label may lack groups.
        parts: what error messages call the splits.
        advice: what error messages suggest other than adding images.

    Raises:
        InputError: a label has fewer groups than there are splits.
    """
    used = [split for split, share in shares.items() if share > 0]
    names, label_of = _encoded(labels)
    groups_there, group_of = _encoded(groups)
    members = _Members(label_of, group_of, len(names), len(groups_there))
    if fixed is None:
        _check_enough(names, members, len(used), parts, advice)
    totals = members.totals.tolist()
    target = [[shares[split] * total for total in totals] for split in used]
    filled = [[0] * len(names) for _ in used]
    chosen = [-1] * len(groups_there)

    def put(group: int, row: int) -> None:
        chosen[group] = row
        for label, count in members.of(group):
            filled[row][label] += count

    for group, name in enumerate(groups_there):
        if fixed is not None and fixed.get(name) in used:
            put(group, used.index(fixed[name]))
    order = _drawn(seed, groups_there)
    rank = np.argsort(order)
    for label in np.argsort(members.totals, kind="stable").tolist():
        holders = members.holders(label)
        if len(holders) < len(used):
            continue  # known groups alone: it goes where most is lacking
        smallest_first = holders[np.lexsort((rank[holders], members.sizes[holders]))].tolist()
        for row in np.argsort([shares[split] for split in used]).tolist():
            if filled[row][label] > 0:
                continue
            free = next((group for group in smallest_first if chosen[group] < 0), None)
            if free is None and fixed is not None:
                continue
            if free is None:
                raise InputError(
                    f"class {names[label]} shares too many of its {len(smallest_first)} groups "
                    f"with other classes to be in all {parts}; add images, or {advice}."
                )
            put(free, row)
    for group in order[np.argsort(-members.sizes[order], kind="stable")].tolist():
        if chosen[group] < 0:
            put(group, _most_missing(target, filled, members.of(group)))
    return [used[row] for row in np.array(chosen)[group_of].tolist()]


class _Members:
    """How many rows of each label each group has, as arrays that hold millions of groups."""

    def __init__(
        self, label_of: NDArray[Any], group_of: NDArray[Any], num_labels: int, num_groups: int
    ) -> None:
        cells, counts = np.unique(
            group_of.astype(np.int64) * num_labels + label_of, return_counts=True
        )
        self._groups, self._labels = np.divmod(cells, num_labels)
        self._pairs = list(zip(self._labels.tolist(), counts.tolist(), strict=True))
        self._starts = np.searchsorted(self._groups, np.arange(num_groups + 1)).tolist()
        self.totals = np.bincount(label_of, minlength=num_labels)
        self.sizes = np.bincount(group_of, minlength=num_groups)

    def of(self, group: int) -> list[tuple[int, int]]:
        """The group's labels, each with its number of rows."""
        return self._pairs[self._starts[group] : self._starts[group + 1]]

    def holders(self, label: int) -> NDArray[np.int64]:
        """The groups that have rows of the label."""
        found: NDArray[np.int64] = self._groups[self._labels == label]
        return found


def _encoded(
    values: Sequence[str] | pa.ChunkedArray,
) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values, sorted, and the index of each row's value."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    encoded = array.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return [names[position] for position in order], rank[encoded.indices.to_numpy()]


def _check_enough(
    names: Sequence[str], members: _Members, num_parts: int, parts: str, advice: str
) -> None:
    for label, name in enumerate(names):
        number = len(members.holders(label))
        if number < num_parts:
            raise InputError(
                f"class {name} has {members.totals[label]} images in {number} groups; "
                f"{num_parts} {parts} need at least {num_parts} groups; add images, or {advice}."
            )


def _drawn(seed: int, groups: Sequence[str]) -> NDArray[np.int64]:
    """The positions of the groups in an order that depends only on their names and the seed."""
    digests = b"".join(hashlib.sha256(f"{seed}\n{group}".encode()).digest() for group in groups)
    return np.argsort(np.frombuffer(digests, "S32"), kind="stable")


def _most_missing(
    target: Sequence[Sequence[float]],
    filled: Sequence[Sequence[int]],
    counts: Sequence[tuple[int, int]],
) -> int:
    """The split that lacks the most rows of these labels.

    Counting rows rather than shares sends a patient with many images to training, where it weighs
    least, so that a test set does not depend on one patient.
    """
    missing = [
        sum((goal[label] - count_so_far[label]) * count for label, count in counts)
        for goal, count_so_far in zip(target, filled, strict=True)
    ]
    return missing.index(max(missing))
