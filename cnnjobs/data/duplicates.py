"""Exact and near duplicates among images, and the groups that must stay in one split."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.data.images import PIECE_ROWS
from cnnjobs.imaging.perceptual_hash import HASH_BYTES

#: Largest Hamming distance, of 256 bits, at which two perceptual hashes count as the same picture,
#: and of the complement of one of them as its inverted copy. Between 193 public chest X-rays it is
#: at least 66 for two patients and 54 for one, crops and complements included (`docs/files.md`).
MAX_DISTANCE = 30

#: Comparisons up to which crops are compared as well, which takes seven times as long: those of
#: 200,000 images with each other.
_MAX_WITH_CROPS = 200_000**2

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
    hashes: Sequence[str | None] | pa.ChunkedArray,
    *,
    first: int | None = None,
    max_distance: int = MAX_DISTANCE,
    max_with_crops: int = _MAX_WITH_CROPS,
) -> list[tuple[int, int]]:
    """All pairs of positions whose hashes differ in at most `max_distance` of 256 bits.

    A hash is near another one if it or its complement is, or if that of the whole image is near
    that of a crop. Compares every hash with every other in threads, so time grows with the
    square; `python -m benchmarks index` measures it. Beyond `max_with_crops` comparisons, crops
    are left out. None never matches.

    Args:
        hashes: `perceptual_hashes` of the images as hex; those of older manifests, without crops,
            are compared as a whole.
        first: only pairs with one of the first so many.
        max_distance: in bits.
        max_with_crops: comparisons of images up to which crops are compared.
    """
    if not isinstance(hashes, pa.ChunkedArray):
        hashes = pa.chunked_array([hashes], pa.string())
    known = np.flatnonzero(pc.is_valid(hashes))
    num_first = len(known) if first is None else int(np.searchsorted(known, first))
    if not num_first:
        return []
    parts = _parts(hashes.drop_null())
    if num_first * len(known) > max_with_crops:
        parts = parts[:, :1]
    words = np.ascontiguousarray(parts.transpose(1, 2, 0))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, num_first, _ROWS)
        found = pool.map(lambda start: _near_rows(words, start, max_distance), starts)
        return [
            (int(known[one]), int(known[other]))
            for pairs in found
            for one, other in pairs
            if one < num_first
        ]


def copies(
    rows: pa.Table, first: int | None = None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of rows with the same content, and with the same picture.

    With `first`, the near ones only if they include one of the first so many rows.
    """
    exact = equal_pairs(rows["content_hash"].to_pylist())
    return exact, near_pairs(rows["perceptual_hash"], first=first)


def mixed_labels(rows: pa.Table, pairs: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    """Paths of duplicates that are in two classes."""
    if not pairs:
        return []
    ones, others = (rows.select(["path", "label"]).take(side) for side in zip(*pairs, strict=True))
    differ = pc.fill_null(pc.not_equal(ones["label"], others["label"]), False)
    paths = (side["path"].filter(differ).to_pylist() for side in (ones, others))
    return sorted(set(zip(*paths, strict=True)))


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


def _parts(hashes: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The hashes as numbers, (N, 1 + crops, 4).

    One without crops is repeated in their place: it then adds no pair.
    """
    size = pc.max(pc.binary_length(hashes)).as_py() // 2
    data = np.empty((len(hashes), size), np.uint8)
    # as Python objects they take much more than as numbers
    for start in range(0, len(hashes), PIECE_ROWS):
        piece = map(bytes.fromhex, hashes.slice(start, PIECE_ROWS).to_pylist())
        whole = b"".join((each * (size // len(each)))[:size] for each in piece)
        data[start : start + PIECE_ROWS] = np.frombuffer(whole, np.uint8).reshape(-1, size)
    return data.view(np.uint64).reshape(len(hashes), size // HASH_BYTES, -1)


def _near_rows(words: NDArray[np.uint64], start: int, max_distance: int) -> list[tuple[int, int]]:
    """Pairs of the rows from `start` with those after them, sorted.

    `words` are (1 + crops, 4, N): the whole image first.
    """
    rows = words[..., start : start + _ROWS]
    pairs: set[tuple[int, int]] = set()
    for left in range(start, words.shape[2], _COLUMNS):
        others = words[..., left : left + _COLUMNS]
        compared = [(rows[0], each) for each in others] + [(each, others[0]) for each in rows[1:]]
        for these, those in compared:
            ones, twos = _near(these, those, max_distance)
            behind = left + twos > start + ones
            ones, twos = start + ones[behind], left + twos[behind]
            pairs.update(zip(ones.tolist(), twos.tolist(), strict=True))
    return sorted(pairs)


def _near(
    these: NDArray[np.uint64], those: NDArray[np.uint64], max_distance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of all pairs that are near, or of which one is near the other's complement.

    For nearly all pairs, half of the bits already differ in more than `max_distance`, and are
    equal in more than that; the other half is compared only for the rest.
    """
    half = len(these) // 2
    ones, twos = np.nonzero(_is_extreme(_distances(these[:half], those[:half]), 128, max_distance))
    both = np.bitwise_count(these[:, ones] ^ those[:, twos]).sum(axis=0, dtype=np.uint16)
    near = _is_extreme(both, 256, max_distance)
    return ones[near], twos[near]


def _is_extreme(distances: NDArray[np.uint16], bits: int, max_distance: int) -> NDArray[np.bool_]:
    """Whether each distance is at most `max_distance`, or at least `bits` less that."""
    # in one pass: what is at most `max_distance` wraps around to the largest numbers
    beyond = distances - np.uint16(max_distance + 1)
    extreme: NDArray[np.bool_] = beyond >= max(0, bits - 2 * max_distance - 1)
    return extreme


def _distances(rows: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint16]:
    total = np.zeros((rows.shape[1], others.shape[1]), np.uint16)
    for row, other in zip(rows, others, strict=True):
        total += np.bitwise_count(row[:, np.newaxis] ^ other)
    return total
