"""Which image ends the process that scores it: found by halving, in a process of its own."""

import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from cnnjobs.cluster.resources import Allocation
from cnnjobs.errors import ImageError
from cnnjobs.imaging.daemon_threads import end_if_frozen
from cnnjobs.inference.predictor import Predictor, Scoring, failed_row

#: A process or a machine is gone: others can take over its work.
DEATHS = (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    WorkerCrashedError,
)


@ray.remote(max_restarts=0)
class LonePredictor:
    """Scores rows outside of Ray Data."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        end_if_frozen(scoring.image_timeout)
        self._predictor = Predictor(scoring, threads=threads)

    def check(self) -> None:
        """Show that this process can score."""
        self._predictor.check()

    def score(self, rows: pa.Table) -> pa.Table:
        """See `Predictor`."""
        return self._predictor(rows)


class Bisection:
    """Scores a few rows at a time in one process, which is replaced when it dies.

    An image is to blame if the process dies twice with it alone, the second time a new one that
    has shown that it can score.
    """

    def __init__(self, scoring: Scoring, allocation: Allocation) -> None:
        self._scoring = scoring
        self._allocation = allocation
        self._actor: Any = None
        self._seconds = 0.0
        #: Images that were set aside.
        self.num_found = 0

    def score(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Tables as `Predictor` returns them, for all rows in order.

        Raises:
            RayError: a process died before it got any image.
        """
        table = self._attempt(rows)
        if table is None and rows.num_rows > 1:
            half = rows.num_rows // 2
            yield from self.score(rows.slice(0, half))
            yield from self.score(rows.slice(half))
            return
        if table is None:
            table = self._attempt(rows)
        if table is None:
            self.num_found += 1
            table = failed_row(rows, self._error(), self._scoring, self._seconds)
        yield table

    def close(self) -> None:
        """End the process."""
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None

    def _attempt(self, rows: pa.Table) -> pa.Table | None:
        """The rows, scored; None if the process has died."""
        if self._actor is None:
            self._actor = self._started()
        began = time.monotonic()
        try:
            return ray.get(self._actor.score.remote(rows))
        except RayError as error:
            if not is_death(error):
                raise
            self._seconds = time.monotonic() - began
            self.close()
            return None

    def _started(self) -> Any:
        kept = self._allocation
        actor = LonePredictor.options(  # type: ignore[attr-defined]
            num_cpus=kept.num_cpus, num_gpus=kept.num_gpus, memory=kept.memory
        ).remote(self._scoring, threads=kept.threads)
        ray.get(actor.check.remote())
        return actor

    def _error(self) -> ImageError:
        limit = self._scoring.image_timeout
        if self._seconds >= limit:
            return ImageError("timed out", f"still not decoded after {limit:g} s")
        return ImageError("crashed", "the process that scored it died, twice")


def is_death(error: RayError) -> bool:
    """Whether a process or a machine is gone, so that others can take over."""
    return isinstance(error.cause if isinstance(error, RayTaskError) else error, DEATHS)
