"""Batches of a data set, prefetched ahead of the training step."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnnjobs.training.distributed.sharding import Share

T = TypeVar("T")


class Source(Protocol):
    """A data set whose rows any worker can read in any order."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def stream(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
        """Yield the images of each batch of rows: (n, height, width, 1) uint8.

        Called once per pass and consumed in a thread. A source that reads and decodes files knows
        from the start which ones will be needed.
        """

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class numbers of `rows`: (n,) int64."""


@dataclass(frozen=True)
class InMemory:
    """A source over arrays, which may be in shared memory."""

    all_images: NDArray[np.uint8]
    """(N, height, width, 1) uint8"""
    all_labels: NDArray[np.int64]
    """(N,) int64"""

    def __len__(self) -> int:
        return len(self.all_labels)

    def stream(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
        for rows in batches:
            yield self.all_images[rows]

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.all_labels[rows]


class Batch(NamedTuple):
    """The input of one worker in one step."""

    images: NDArray[np.uint8]
    """(L, height, width, 1) uint8"""
    labels: NDArray[np.int64]
    """(L,) int64"""
    weights: NDArray[np.float32]
    """(L,) float32: the weight of each row, 0 for padding."""
    share: Share


def batches(
    source: Source, shares: Sequence[Share], row_weights: NDArray[np.float32] | None = None
) -> Iterator[Batch]:
    """Yield the batch of every share; `row_weights`, (N,), default to 1."""
    weight_of = np.ones(len(source), np.float32) if row_weights is None else row_weights
    images = source.stream([share.rows for share in shares])
    for share, pixels in zip(shares, images, strict=True):
        weights = weight_of[share.rows]
        weights[share.num_real :] = 0.0
        yield Batch(pixels, source.labels(share.rows), weights, share)


def prefetched(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Yield `items` in order while a thread prepares the next `depth` of them."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        pending = deque(thread.submit(next, items, None) for _ in range(depth))
        while (item := pending.popleft().result()) is not None:
            pending.append(thread.submit(next, items, None))
            yield item
