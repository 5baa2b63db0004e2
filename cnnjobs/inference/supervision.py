"""Scoring rows in processes that may die: every row is scored, in order, or the job says why not.

What runs the processes is a `Pool`: of `ray_pipeline` on a cluster, of `child_process` on this
machine alone.
"""

import gc
import itertools
import logging
import math
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.cluster.blocks import rows_per_block
from cnnjobs.cluster.child import CALLS_AT_ONCE, Died
from cnnjobs.errors import CnnjobsError
from cnnjobs.inference.bisection import Bisection, Lone
from cnnjobs.inference.predictor import Scoring
from cnnjobs.inference.source_watch import SourceWatch

_log = logging.getLogger(__name__)

#: Blocks that a process works on at once (while one waits for its last images, the next is being
#: decoded), and blocks queued for it besides.
BLOCKS_AT_ONCE, BLOCKS_QUEUED = CALLS_AT_ONCE, 2

#: Attempts in a row without a scored row before the job gives up.
_MAX_FRUITLESS_ATTEMPTS = 3


class Attempt(Protocol):
    """Processes that are to score some rows.

    Attributes:
        window: rows that may be in work at once.
    """

    window: int

    def tables(self) -> Iterator[pa.Table]:
        """Tables of `schema.predictions` and `schema.MEASURES`, for all rows in order.

        Raises:
            Died: a process has died.
        """

    def lone(self) -> Lone:
        """A new process, to score other rows."""


class Pool(Protocol):
    """Starts processes."""

    def attempt(self, rows: pa.Table) -> Attempt:
        """Processes for these rows of a manifest."""


def score(
    rows: pa.Table, scoring: Scoring, pool: Pool, watch: SourceWatch
) -> Generator[pa.Table, None, None]:
    """Yield tables of `schema.predictions` and `schema.MEASURES`, with one row for each of `rows`.

    They come in the order of `rows`, except for images whose storage failed for a while: those come
    last. If a process or its machine dies, what is still missing is scored by others.

    Args:
        rows: of a manifest: path, label and size_bytes.
        scoring: how to score, with its engine chosen.
        pool: of processes.
        watch: what to take for a failure of the source.

    Raises:
        SourceError: the images cannot be read any more.
        CnnjobsError: processes keep dying.
    """
    while rows.num_rows:
        with closing(_score_all(rows, scoring, pool)) as tables:
            for table in tables:
                kept = watch.pass_on(table)
                if kept.num_rows:
                    yield kept
                watch.check()
        watch.end_pass(scoring.samples, rows.num_rows)
        held_back, watch.held_back = watch.held_back, []
        rows = rows.filter(pc.is_in(rows["path"], value_set=pa.array(held_back, pa.string())))


def blocks(rows: pa.Table, scoring: Scoring, *, num_processes: int) -> list[pa.Table]:
    """The rows as they are handed to processes."""
    pixels = (each.preprocessing.height * each.preprocessing.width for each in scoring.bundles)
    size = rows_per_block(
        rows.num_rows,
        batch_size=scoring.batch_size,
        image_bytes=max(pixels),
        min_blocks=num_processes * BLOCKS_AT_ONCE,
    )
    # the first block is a single batch, which soon shows whether all is well
    starts = [0, *range(scoring.batch_size, rows.num_rows, size), rows.num_rows]
    return [rows.slice(start, end - start) for start, end in itertools.pairwise(starts)]


def _score_all(rows: pa.Table, scoring: Scoring, pool: Pool) -> Generator[pa.Table, None, None]:
    """Yield a row for each of `rows`, in order, whatever dies.

    After a death everything still missing is tried again. If one follows shortly, an image may be
    the cause, which is then looked for.
    """
    done = fruitless = 0
    died_at, looks_closer = -math.inf, False
    reason = None
    while done < rows.num_rows and fruitless < _MAX_FRUITLESS_ATTEMPTS:
        before = done
        attempt = pool.attempt(rows.slice(done))
        try:
            if looks_closer:
                tables = _run_bisection(rows.slice(done, attempt.window), scoring, attempt)
            else:
                tables = attempt.tables()
            for table in tables:
                yield table
                done += table.num_rows
            looks_closer = False
        except Died as death:
            reason = death.reason
            looks_closer = not looks_closer and done - died_at < attempt.window
            died_at = done
            # as text: a kept record would keep the plan alive
            _log.warning("scoring processes died after %d rows: %s", done, str(death))
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            # an interrupted plan of Ray Data is a reference cycle: its actors would keep their
            # cores, and its thread would call a Ray that has shut down, which ends the process on
            # the spot
            gc.collect()
        fruitless = fruitless + 1 if done == before else 0
    if done < rows.num_rows:
        path = rows["path"][done]
        if reason is not None:
            raise CnnjobsError(
                f"no scoring process could start ({fruitless} attempts, at {path}): {reason}"
            )
        raise CnnjobsError(
            f"the scoring process died {fruitless} times in a row before it had scored {path}: "
            "memory may be short, or that file may be the cause; see Ray's messages, then continue "
            "with --resume."
        )


def _run_bisection(rows: pa.Table, scoring: Scoring, attempt: Attempt) -> Iterator[pa.Table]:
    """Score batch by batch, up to and including the one with an image that ends its process."""
    bisection = Bisection(scoring, attempt.lone)
    with closing(bisection):
        for start in range(0, rows.num_rows, scoring.batch_size):
            yield from bisection.score(rows.slice(start, scoring.batch_size))
            if bisection.num_found:
                return
