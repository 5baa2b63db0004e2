"""The rows of each batch; they depend on seed, epoch and row count, never on the workers.

The global batches are the same for any number of workers, and each worker takes its share of every
batch. Step by step, N workers see the same rows as a single process.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Share(NamedTuple):
    """One worker's part of one global batch, of the same length at every step."""

    rows: NDArray[np.int64]
    """(L,) row numbers: first the `num_real` rows of this worker, then padding."""
    num_real: int
    """How many of `rows` count, from 0 to L; the padding repeats rows and has weight 0."""
    num_global: int
    """Rows in the global batch, over all workers; divides the sum of losses."""


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of an epoch: (num_rows,) int64, each row once.

    Depends only on `seed` and `epoch` (counted from 0), so a resumed run continues with the order
    of an uninterrupted one.
    """
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def num_steps(num_rows: int, global_batch_size: int) -> int:
    """Return the number of steps per epoch; the last one may have fewer rows."""
    return -(-num_rows // global_batch_size)


def shares(
    order: NDArray[np.int64], *, global_batch_size: int, rank: int, num_workers: int
) -> Iterator[Share]:
    """Yield worker `rank`'s share of every global batch of `order`.

    All workers get the same number of shares, no longer than the rows need, and every row of
    `order` is real in exactly one share of one worker. A global batch is dealt out like cards
    (rank, rank + num_workers, ...), so shares of a short last batch differ by at most one row. A
    worker without a row takes the step with padding only, because the others wait for it in the
    all-reduce.
    """
    length = -(-min(global_batch_size, len(order)) // num_workers)
    for start in range(0, len(order), global_batch_size):
        batch = order[start : start + global_batch_size]
        own = batch[rank::num_workers]
        padded = np.resize(own if len(own) else batch[:1], length)
        yield Share(padded, len(own), len(batch))
