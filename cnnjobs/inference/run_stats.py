"""What a scoring job has done so far: counted as rows come in, told while it runs."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import progress
from cnnjobs.storage import filesystem

#: Seconds between two lines of `progress.jsonl`, which is written whole each time.
_SECONDS_BETWEEN_LINES = 10.0

#: Steps of the histogram of probabilities.
NUM_BINS = 10


class Tally:
    """Counts of one start of a job, from the tables of `scoring.score`."""

    def __init__(self, total: int, *, done_before: int) -> None:
        """Begin to count.

        Args:
            total: rows that there will be.
            done_before: of them by earlier starts.
        """
        self.predictions: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.num_warnings = 0
        self.num_retries = 0
        self.histogram = np.zeros(NUM_BINS, np.int64)
        self._total = total
        self._done_before = done_before
        self._stages = dict.fromkeys(("read", "decode", "score", "write"), 0.0)
        self._scorer_memory = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._working_since = math.inf

    @property
    def num_rows(self) -> int:
        """Rows of this start."""
        return self.predictions.total() + self.failed.total()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    @property
    def seconds_to_first(self) -> float | None:
        """From the start to the first rows."""
        return None if self._first is None else self._first - self._began

    @property
    def steady_rate(self) -> float:
        """Images a second from when the first scorer began to work until the last rows came.

        Not from when the first rows came: by then others are decoded, which would flatter it.
        0 before any came.
        """
        return self.num_rows / (self._last - self._working_since)

    def add(self, table: pa.Table) -> None:
        """Count the rows of one table."""
        sound = table.filter(pc.is_null(table["error"]))
        self.predictions.update(sound["prediction"].to_pylist())
        errors = table["error"].drop_null().to_pylist()
        self.failed.update(error.partition(":")[0] for error in errors)
        self.num_warnings += table.num_rows - table["warning"].null_count
        self.num_retries += pc.sum(table["retries"]).as_py()
        for stage in ("read", "decode", "score"):
            self._stages[stage] += pc.sum(table[f"{stage}_seconds"]).as_py()
        self._scorer_memory = max(self._scorer_memory, pc.max(table["peak_memory_bytes"]).as_py())
        if "probability" in table.column_names:
            values = sound["probability"].to_numpy()
            self.histogram += np.histogram(values, NUM_BINS, (0, 1))[0]
        self._last = time.monotonic()
        self._first = self._first or self._last
        # durations, not times of day: the clocks of two machines differ. The least of them, for
        # the first table takes Ray up to a second on its way
        working = pc.max(table["working_seconds"]).as_py()
        self._working_since = min(self._working_since, self._last - working)

    def add_writing(self, seconds: float) -> None:
        """Count the time that the driver took to write."""
        self._stages["write"] += seconds

    def shares(self) -> dict[str, float]:
        """What part of all stages' time each stage took; they run at the same time."""
        whole = sum(self._stages.values())
        return {name: round(part / whole, 4) for name, part in self._stages.items() if whole}

    def peak_memory_bytes(self) -> dict[str, int]:
        """Of the driver and of the largest scorer."""
        return {"driver": progress.peak_memory_bytes(), "scorer": self._scorer_memory}

    def facts(self) -> dict[str, Any]:
        """How far the job is."""
        done = self._done_before + self.num_rows
        left = (self._total - done) / self.steady_rate if self.num_rows else None
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "done": done,
            "total": self._total,
            "failed": self.failed.total(),
            "images_per_second": round(self.steady_rate, 2) if self.num_rows else None,
            "seconds_left": None if left is None else round(left),
        }


class ProgressFile:
    """`progress.jsonl` of a run: how far it is, a line every few seconds, over all its starts."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._written = 0.0
        try:
            self._lines = filesystem.read_file(uri).decode().splitlines()
        except FileNotFoundError:
            self._lines = []

    def tell(self, facts: Mapping[str, Any], *, last: bool = False) -> None:
        """Add a line, if it is time for one."""
        now = time.monotonic()
        if now - self._written < _SECONDS_BETWEEN_LINES and not last:
            return
        self._written = now
        self._lines.append(json.dumps(dict(facts)))
        filesystem.write_bytes(self._uri, "\n".join([*self._lines, ""]).encode())
