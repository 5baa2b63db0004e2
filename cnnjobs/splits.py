"""Which images train, which choose, which test: by group, by label, and by seed alone."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from cnnjobs.errors import InputError


def assign_splits(
    labels: Sequence[str], groups: Sequence[str], *, shares: Mapping[str, float], seed: int
) -> list[str]:
    """The split of each row: whole groups, near to its share of every label.

    Depends on the labels, the groups and the seed, not on the order of the rows. First
    every split of every label gets one group, so that none is without a class; then groups
    go, large ones first and equals in an order drawn from the seed, where the most is
    missing.

    Args:
        labels: of each row.
        groups: of each row; rows of one group land in one split.
        shares: of the rows, by split; those of 0 get nothing.
        seed: any whole number.

    Raises:
        InputError: a label has fewer groups than there are splits.
    """
    wanted = [split for split, share in shares.items() if share > 0]
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        members[group][label] += 1
    _check_enough(members, len(wanted))

    names = sorted(set(labels))
    column = {label: position for position, label in enumerate(names)}
    totals = Counter(labels)
    target = np.array([[shares[split] * totals[label] for label in names] for split in wanted])
    filled = np.zeros_like(target)
    chosen: dict[str, str] = {}

    def put(group: str, row: int) -> None:
        chosen[group] = wanted[row]
        for label, count in members[group].items():
            filled[row, column[label]] += count

    order = sorted(members, key=lambda group: _draw(seed, group))
    for label in sorted(names, key=lambda name: totals[name]):
        smallest_first = sorted(
            (group for group in order if label in members[group]),
            key=lambda group: members[group].total(),
        )
        for row in np.argsort([shares[split] for split in wanted]):
            if filled[row, column[label]] > 0:
                continue
            free = next((group for group in smallest_first if group not in chosen), None)
            if free is None:
                raise InputError(
                    f"class {label} shares too many of its {len(smallest_first)} groups with "
                    "other classes to be in every split; add images, or index with --no-split."
                )
            put(free, int(row))
    for group in sorted(order, key=lambda name: -members[name].total()):
        if group not in chosen:
            counts = np.array([members[group][label] for label in names])
            put(group, _most_missing(target, filled, counts))
    return [chosen[group] for group in groups]


def _check_enough(members: Mapping[str, Counter[str]], num_splits: int) -> None:
    num_groups = Counter(label for counts in members.values() for label in counts)
    for label, number in sorted(num_groups.items()):
        if number < num_splits:
            images = sum(counts[label] for counts in members.values())
            raise InputError(
                f"class {label} has {images} images in {number} groups; {num_splits} splits need "
                f"at least {num_splits} groups; add images, or index with --no-split."
            )


def _draw(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{group}".encode()).digest()


def _most_missing(target: np.ndarray, filled: np.ndarray, counts: np.ndarray) -> int:
    """The split that lacks the most rows of these labels.

    Rows, not shares: a patient with many images goes where they weigh least, to training,
    and a test set does not come to rest on one patient.
    """
    return int(np.argmax((target - filled) @ counts))
