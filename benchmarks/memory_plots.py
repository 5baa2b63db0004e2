"""Memory of a process over a job, sampled and drawn."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.memory import resident_bytes
from cnnjobs.imaging.plots import COLUMN, in_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS_BETWEEN_SAMPLES = 0.2


@contextmanager
def sampled(file: Path) -> Iterator[None]:
    """Write this process's resident size, in bytes, over the seconds that the block runs."""
    began, ended, samples = time.monotonic(), threading.Event(), list[tuple[float, int]]()

    def sample() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            samples.append((time.monotonic() - began, resident_bytes(os.getpid())))

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        file.write_text(json.dumps(samples))


@in_style
def memory_over_jobs(files: Mapping[str, Path]) -> "Figure":
    """A line for each job, from its start to its end.

    Args:
        files: what `sampled` wrote, by what to call the job.
    """
    figure = new_figure(COLUMN, 2.2)
    axes = figure.add_subplot()
    for name, file in files.items():
        seconds, sizes = zip(*json.loads(file.read_text()), strict=True)
        axes.plot([each / seconds[-1] * 100 for each in seconds], [size / 1e6 for size in sizes])
        axes.lines[-1].set_label(name)
    axes.set(xlabel="Part of the job (%)", ylabel="Resident memory (MB)", xlim=(0, 100))
    axes.set_ylim(bottom=0)
    axes.grid(visible=True)
    axes.legend(loc="lower right")
    return figure
