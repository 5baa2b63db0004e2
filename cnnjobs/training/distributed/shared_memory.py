"""Sums over the workers of one host, through memory that all of them map.

The gradients of `covid` are 59 MB per step. gRPC, which TensorFlow uses without GPUs, takes 120 ms
of a core in every worker to sum them; this takes 40 ms.
"""

import math
import mmap
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

#: Smaller tensors are summed over the network, all together.
MIN_ELEMENTS = 1 << 18

#: Each worker reads the parts of all; with more workers the network's ring reads less.
MAX_WORKERS = 4

# files of random names, created or not opened at all
_FOLDER = Path("/dev/shm")  # noqa: S108


class SharedMemory:
    """Sums of a fixed list of float32 tensors over all workers.

    Call in this order: `put`, then anything that waits for all workers, then `totals`. Each worker
    alternates between two slots, and so never overwrites a part that another worker still reads.
    """

    def __init__(
        self, slots: NDArray[np.float32], shapes: Sequence[tuple[int, ...]], rank: int
    ) -> None:
        """Take memory of shape (2, workers, elements of all tensors)."""
        self._slots = slots
        self._rank = rank
        self._turn = 0
        # mapped separately: TensorFlow uses these pages without a copy
        self._sum = _mapped(-1, slots.shape[2])
        self._totals = [
            part.reshape(shape)
            for part, shape in zip(np.split(self._sum, _ends(shapes)[:-1]), shapes, strict=True)
        ]
        self._ends = _ends(shapes)

    def put(self, *tensors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write this worker's part; returns a zero to wait for."""
        slot = self._slots[self._turn, self._rank]
        for end, tensor in zip(self._ends, tensors, strict=True):
            slot[end - tensor.size : end] = tensor.reshape(-1)
        return np.zeros((), np.float32)

    def totals(self, written: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the sum of all workers' parts, added in the order of their ranks.

        The arrays are valid until the next call. `written` only makes this call wait for `put`.
        """
        parts = self._slots[self._turn]
        np.add(parts[0], parts[1], out=self._sum)
        for part in parts[2:]:
            np.add(self._sum, part, out=self._sum)
        self._turn = 1 - self._turn
        return self._totals


def num_elements(shapes: Sequence[tuple[int, ...]]) -> int:
    """Return the number of elements of all tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def create(shape: Sequence[int]) -> str:
    """Create a float32 file of this shape in memory; returns its name, or "" if it does not fit."""
    file = _FOLDER / f"cnnjobs-{uuid.uuid4().hex}"
    try:
        with file.open("xb") as opened:
            # reserves the memory now: a write without free memory would kill the process
            os.posix_fallocate(opened.fileno(), 0, 4 * math.prod(shape))
    except OSError:
        file.unlink(missing_ok=True)
        return ""
    return str(file)


def opened(name: str, shape: Sequence[int]) -> NDArray[np.float32] | None:
    """Return the memory of `create`, or None if this worker cannot see it."""
    try:
        descriptor = os.open(name, os.O_RDWR)
    except OSError:
        return None
    try:
        return _mapped(descriptor, math.prod(shape)).reshape(shape)
    finally:
        os.close(descriptor)


def is_large(tensor: Any) -> bool:
    """Return whether a tensor, or a Keras variable, is worth summing in shared memory."""
    return tensor.dtype in (tf.float32, "float32") and math.prod(tensor.shape) >= MIN_ELEMENTS


def _ends(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    return [num_elements(shapes[: index + 1]) for index in range(len(shapes))]


def _mapped(descriptor: int, num_elements: int) -> NDArray[np.float32]:
    return np.frombuffer(mmap.mmap(descriptor, 4 * num_elements), np.float32)
