"""Which rows make which batch: a function of seed, epoch and row count, never of the workers.

The global batches are the same for any number of workers; a worker only takes its share of
each. So N workers see, step for step, the rows that one process sees.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Share(NamedTuple):
    """One worker's part of one global batch, of the same length at every step."""

    rows: NDArray[np.int64]
    """(L,) row numbers: first the `num_real` rows that are this worker's, then padding."""
    num_real: int
    """How many of `rows` count, from 0 to L; the padding repeats rows and has no weight."""
    num_global: int
    """Rows in the global batch, over all workers: what the sum of losses is divided by."""


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of an epoch: (num_rows,) int64, each row once.

    Depends on `seed` and `epoch` (counted from 0) alone, so that a resumed run goes on with
    the order that an uninterrupted one would have had.
    """
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def num_steps(num_rows: int, global_batch_size: int) -> int:
    """Return the steps of an epoch, the last of which may have fewer rows."""
    return -(-num_rows // global_batch_size)


def shares(
    order: NDArray[np.int64], *, global_batch_size: int, rank: int, num_workers: int
) -> Iterator[Share]:
    """Yield worker `rank`'s share of every global batch of `order`.

    All workers get the same number of shares, and every row of `order` is real in exactly one
    share of one worker. A global batch is dealt out like cards (rank, rank + num_workers, ...),
    so that shares of a short last batch differ by one row at most. A worker left without a
    row still takes the step, on padding alone, because the others wait for it in the
    all-reduce.
    """
    length = -(-global_batch_size // num_workers)
    for start in range(0, len(order), global_batch_size):
        batch = order[start : start + global_batch_size]
        own = batch[rank::num_workers]
        padded = np.resize(own if len(own) else batch[:1], length)
        yield Share(padded, len(own), len(batch))
