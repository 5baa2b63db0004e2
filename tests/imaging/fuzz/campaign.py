"""Runs many images of a format through workers, which may crash, hang or print."""

import dataclasses
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.imaging.fuzz import mutations, worker

#: What one image may take, for decoding it twice: seconds, and bytes of memory.
SECONDS, BYTES = 10, 256 << 20

#: Images of one worker.
_BLOCK = 2000

#: Seconds for a worker to make its files and to decode the first of them.
_START_SECONDS = 120

_FAULTS = (worker.PRINTED, worker.UNFORESEEN, worker.EXCEPTION, worker.DIFFERENT)


@dataclasses.dataclass
class Report:
    """What became of the images of a format."""

    format: str
    runs: int = 0
    outcomes: Counter = dataclasses.field(default_factory=Counter)
    faults: list = dataclasses.field(default_factory=list)
    printed: set = dataclasses.field(default_factory=set)
    most_seconds: float = 0.0
    most_bytes: int = 0

    def __str__(self):
        counts = ", ".join(f"{count} {what}" for what, count in self.outcomes.most_common())
        return (
            f"{self.format}: {self.runs} runs ({counts}); faults {len(self.faults)}; at most "
            f"{self.most_seconds:.2f} s and {self.most_bytes / 2**20:.0f} MiB for an image"
        )


def run(format_, seed, *, seconds=float("inf"), images=1 << 62, folder=None):
    """Decode so many images, or for so long; what is at fault is written to `folder`."""
    report, end = Report(format_), time.monotonic() + seconds
    index = 0
    while index < images and time.monotonic() < end:
        stop = min(index + _BLOCK, images)
        index = _block(report, seed, index, stop, end, folder or Path(tempfile.gettempdir()))
    return report


def _block(report, seed, index, stop, end, folder):
    """Run one worker; return the number of the image to continue with."""
    command = [sys.executable, "-m", "tests.imaging.fuzz.worker", report.format]
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [*command, str(seed), str(index), str(stop)],
            stdout=subprocess.PIPE,
            stderr=printed,
            env={**os.environ, "PYTHONFAULTHANDLER": ""},
        )
        allowed = _START_SECONDS
        try:
            while index < stop and time.monotonic() < end:
                ready = select.select([process.stdout], [], [], allowed)[0]
                line = process.stdout.readline().split() if ready else []
                if not line:
                    what = f"crash {process.wait()}" if ready else f"no answer in {allowed} s"
                    _add(report, what, seed, index, folder)
                    return index + 1
                what, taken, size = line[1].decode(), float(line[2]), int(line[3])
                if taken > SECONDS or size > BYTES:
                    what = f"{taken:.1f} s and {size} bytes"
                report.most_seconds = max(report.most_seconds, taken)
                report.most_bytes = max(report.most_bytes, size)
                _add(report, what, seed, index, folder)
                index, allowed = index + 1, 2 * SECONDS
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            printed.seek(0)
            report.printed |= {line.decode(errors="replace").strip() for line in printed}
    return index


def _add(report, what, seed, index, folder):
    report.runs += 1
    report.outcomes[what] += 1
    if what in _FAULTS or " " in what:
        path = folder / f"fuzz-{seed}-{index}.{report.format}"
        path.write_bytes(mutations.mutated(report.format, seed, index))
        again = f"python -m tests.imaging.fuzz.worker {report.format} {seed} {index} {index + 1}"
        report.faults.append(f"{what}: {path} (again: {again})")
