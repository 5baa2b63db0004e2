"""What a scoring job has done so far, counted as rows arrive."""

import math
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import progress

#: Bins of the histogram of probabilities.
NUM_BINS = 10


class Tally:
    """Counts of one session of a job, from the tables of `backends.score`."""

    def __init__(self, total: int, *, done_before: int) -> None:
        """Start counting.

        Args:
            total: rows of the whole run.
            done_before: those that earlier sessions wrote.
        """
        self.predictions: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.num_warnings = 0
        self.num_retries = 0
        self.histogram = np.zeros(NUM_BINS, np.int64)
        self._total = total
        self._done_before = done_before
        self._stages = dict.fromkeys(("read", "decode", "score", "write"), 0.0)
        self._actor_memory = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._working_since = math.inf

    @property
    def num_rows(self) -> int:
        """Rows scored or failed in this session."""
        return self.predictions.total() + self.failed.total()

    @property
    def seconds(self) -> float:
        """Seconds since counting started."""
        return time.monotonic() - self._began

    @property
    def seconds_to_first(self) -> float | None:
        """Seconds until the first rows arrived."""
        return None if self._first is None else self._first - self._began

    @property
    def steady_rate(self) -> float:
        """Images per second from when the first actor began to work until the last rows arrived.

        Not from when the first rows arrived: others are decoded by then, which would inflate it.
        0 before any rows arrive.
        """
        return self.num_rows / (self._last - self._working_since)

    def add(self, table: pa.Table) -> None:
        """Count the rows of one table."""
        scored = table.filter(pc.is_null(table["error"]))
        self.predictions.update(scored["prediction"].to_pylist())
        self.failed.update(reasons(table))
        self.num_warnings += table.num_rows - table["warning"].null_count
        self.num_retries += pc.sum(table["retries"]).as_py()
        for stage in ("read", "decode", "score"):
            self._stages[stage] += pc.sum(table[f"{stage}_seconds"]).as_py()
        self._actor_memory = max(self._actor_memory, pc.max(table["peak_memory_bytes"]).as_py())
        if "probability" in table.column_names:
            values = scored["probability"].to_numpy()
            self.histogram += np.histogram(values, NUM_BINS, (0, 1))[0]
        self._last = time.monotonic()
        self._first = self._first or self._last
        # durations rather than times of day, because the clocks of machines differ; the minimum,
        # because Ray takes up to a second to deliver the first table
        working = pc.max(table["working_seconds"]).as_py()
        self._working_since = min(self._working_since, self._last - working)

    def add_writing(self, seconds: float) -> None:
        """Add time that the driver spent writing."""
        self._stages["write"] += seconds

    def shares(self) -> dict[str, float]:
        """Each stage's share of the time of all stages, which run at once."""
        whole = sum(self._stages.values())
        return {name: round(part / whole, 4) for name, part in self._stages.items() if whole}

    def peak_memory_bytes(self) -> dict[str, int]:
        """Of the driver, and of the largest scoring process."""
        return {"driver": progress.peak_memory_bytes(), "scorer": self._actor_memory}

    def facts(self) -> dict[str, Any]:
        """How far the job has come."""
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


def reasons(rows: pa.Table) -> Counter[str]:
    """How many rows failed, by the category of their error."""
    categories = pc.replace_substring_regex(rows["error"].drop_null(), "(?s):.*", "")
    counts = pc.value_counts(categories)
    return Counter(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
