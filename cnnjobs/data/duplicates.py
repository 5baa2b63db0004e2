"""Exact and near duplicates among images, and the groups that must stay in one split."""

import bisect
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

#: Largest Hamming distance, of 256 bits, at which two perceptual hashes count as the same picture.
#: On 193 public chest X-rays no two patients were closer than 70; re-encoded, resized, brightened
#: or noisy copies stayed within 24, crops of 2% per side started at 30.
MAX_DISTANCE = 30

#: Hashes compared at once, in rows and columns: what fits in a core's cache.
_ROWS, _COLUMNS = 32, 8192


def equal_pairs(hashes: Sequence[str | None]) -> list[tuple[int, int]]:
    """Positions of equal hashes, each with the first occurrence; None never matches."""
    first: dict[str, int] = {}
    return [
        (first[value], position)
        for position, value in enumerate(hashes)
        if value is not None and first.setdefault(value, position) != position
    ]


def near_pairs(
    hashes: Sequence[str | None], *, first: int | None = None, max_distance: int = MAX_DISTANCE
) -> list[tuple[int, int]]:
    """All pairs of positions whose 256-bit hex hashes differ in at most `max_distance` bits.

    Compares every hash with every other in threads, so time grows with the square; `python -m
    benchmarks index` measures it. None never matches.

    Args:
        hashes: of the images.
        first: only pairs with one of the first so many.
        max_distance: in bits.
    """
    known = [position for position, value in enumerate(hashes) if value is not None]
    num_first = len(known) if first is None else bisect.bisect_left(known, first)
    if not num_first:
        return []
    data = b"".join(bytes.fromhex(hashes[position] or "") for position in known)
    words = np.ascontiguousarray(np.frombuffer(data, np.uint64).reshape(len(known), -1).T)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, num_first, _ROWS)
        found = pool.map(lambda start: _near_rows(words, start, max_distance), starts)
        return [
            (known[one], known[other]) for pairs in found for one, other in pairs if one < num_first
        ]


def join_groups(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Join all rows connected by the pairs into one group, named by the smallest name."""
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for one, other in pairs:
        low, high = sorted((root(groups[one]), root(groups[other])))
        parent[high] = low
    return [root(group) for group in groups]


def _near_rows(words: NDArray[np.uint64], start: int, max_distance: int) -> list[tuple[int, int]]:
    """Pairs of the rows from `start` with those after them, sorted.

    For nearly all pairs, half of the bits already differ in more than `max_distance`; the other
    half is compared only for the rest.
    """
    rows, half = words[:, start : start + _ROWS], len(words) // 2
    pairs: list[tuple[int, int]] = []
    for left in range(start, words.shape[1], _COLUMNS):
        others = words[:, left : left + _COLUMNS]
        ones, twos = np.nonzero(_distances(rows[:half], others[:half]) <= max_distance)
        behind = left + twos > start + ones
        ones, twos = ones[behind], twos[behind]
        both = np.bitwise_count(rows[:, ones] ^ others[:, twos]).sum(axis=0, dtype=np.int64)
        near = both <= max_distance
        pairs += zip((start + ones[near]).tolist(), (left + twos[near]).tolist(), strict=True)
    return sorted(pairs)


def _distances(rows: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint16]:
    total = np.zeros((rows.shape[1], others.shape[1]), np.uint16)
    for row, other in zip(rows, others, strict=True):
        total += np.bitwise_count(row[:, np.newaxis] ^ other)
    return total
