"""Which image ends the process that scores it: found by halving, in a process of its own."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pyarrow as pa

from cnnjobs.cluster.child import Died
from cnnjobs.errors import ImageError
from cnnjobs.inference.predictor import Scoring, failed_row


class Lone(Protocol):
    """One process that scores."""

    def score(self, rows: pa.Table) -> pa.Table:
        """See `Predictor`.

        Raises:
            Died: the process is gone.
        """

    def close(self) -> None:
        """End the process."""


class Bisection:
    """Scores a few rows at a time in one process, which is replaced when it dies.

    An image is to blame if the process dies twice with it alone, the second time a new one that
    has shown that it can score.
    """

    def __init__(self, scoring: Scoring, start: Callable[[], Lone]) -> None:
        """Begin without a process.

        Args:
            scoring: how to score.
            start: starts a process, and returns once that has shown that it can score.
        """
        self._scoring = scoring
        self._start = start
        self._process: Lone | None = None
        self._seconds = 0.0
        #: Images that were set aside.
        self.num_found = 0

    def score(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Tables as `Predictor` returns them, for all rows in order.

        Raises:
            Died: a process died before it got any image.
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
        if self._process is not None:
            self._process.close()
            self._process = None

    def _attempt(self, rows: pa.Table) -> pa.Table | None:
        """The rows, scored; None if the process has died."""
        if self._process is None:
            self._process = self._start()
        began = time.monotonic()
        try:
            return self._process.score(rows)
        except Died:
            self._seconds = time.monotonic() - began
            self.close()
            return None

    def _error(self) -> ImageError:
        limit = self._scoring.image_timeout
        if self._seconds >= limit:
            return ImageError("timed out", f"still not decoded after {limit:g} s")
        return ImageError("crashed", "the process that scored it died, twice")
