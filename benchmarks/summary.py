"""What every comparison reports: medians of its repeats, and the machine."""

import dataclasses
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

from benchmarks.config import PredictBenchmark, TrainBenchmark
from cnnjobs.storage import versions

Measured = TypeVar("Measured")


@dataclass(frozen=True, kw_only=True)
class BenchSummary(Generic[Measured]):
    """Measurements, with the settings, versions and machine they were taken with."""

    config: Mapping[str, Any]
    machine: str
    num_cpus: int
    versions: Mapping[str, str]
    measured: Sequence[Measured]
    seconds: float


def summarized(
    config: TrainBenchmark | PredictBenchmark, measured: Sequence[Measured], *, began: float
) -> BenchSummary[Measured]:
    """The summary of a benchmark that began at `time.monotonic()` `began`."""
    return BenchSummary(
        config=dataclasses.asdict(config),
        machine=_machine(),
        num_cpus=os.cpu_count() or 1,
        versions=versions.package_versions(),
        measured=measured,
        seconds=round(time.monotonic() - began, 1),
    )


def median_of(repeats: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The median over repeats of a number or of all numbers in lists; None if no repeat has it."""
    values: list[float] = []
    for repeat in repeats:
        value = repeat.get(key, [])
        values += value if isinstance(value, list) else [value]
    return round(median(values), 4) if values else None


def _machine() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
