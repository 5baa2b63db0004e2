"""From the command to its first and last score, step by step: a waterfall of a small job."""

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import archive
from benchmarks.config import PredictBenchmark
from benchmarks.processes import in_process
from cnnjobs.config import PredictConfig

#: Characters of the longest bar.
_WIDTH = 40

#: What happens before each mark, for a job without Ray and on a Ray of its own.
_STEPS = {
    "python": "Python starts",
    "imports": "imports of the command",
    "plan": "plan: bundle, files, run directory",
    "first": "scoring processes start; first block",
    "last": "the other blocks",
    "ended": "what was started for the job ends",
}

_CHILD_STEPS = {
    "start": "Python starts, imports",
    "load": "loads the model",
    "block": "reads, decodes and scores 32 images",
}


def print_waterfalls(rows: int, repeats: int) -> None:
    """Print the steps of a job without Ray, of its child process, and of the same on Ray."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = PredictBenchmark(rows=rows)
        archive.write_archive(config, folder / "archive")
        in_process(archive.write_bundle, config=dataclasses.asdict(config), bundle=f"{name}/bundle")
        for title, address in (("predict", None), ("the same on Ray", "local")):
            runs = [
                in_process(job, folder=name, address=address, output=f"{name}/{title}{number}")
                for number in range(repeats)
            ]
            _print(f"{title}, {rows} images", _STEPS, runs)
        runs = [in_process(child_process, folder=name) for _ in range(repeats)]
        _print("the child process alone", _CHILD_STEPS, runs)


def job(settings: Mapping[str, Any]) -> dict[str, float]:
    """Seconds from the command to the end of each step."""
    marks = {"python": time.time()}
    import cnnjobs.cli  # noqa: F401 - its time is what counts
    from cnnjobs.storage.arrow_start import without_pandas

    # as every command does
    without_pandas()
    from cnnjobs.inference.predict import predict

    marks["imports"] = time.time()

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        if step == "predict":
            name = "first" if done else "plan"
            marks.setdefault(name, time.time())
            marks["last"] = time.time()

    folder = settings["folder"]
    predict(
        PredictConfig(
            bundle=f"{folder}/bundle",
            data=f"{folder}/archive",
            output=settings["output"],
            address=settings["address"],
        ),
        progress,
    )
    marks["ended"] = time.time()
    return {name: mark - settings["began"] for name, mark in marks.items()}


def child_process(settings: Mapping[str, Any]) -> dict[str, float]:
    """Seconds from the start of a scoring process to the end of each of its steps."""
    from cnnjobs.cluster.child import Child
    from cnnjobs.data.sources import open_data
    from cnnjobs.inference import child_process as scoring
    from cnnjobs.inference.predictor import Scoring
    from cnnjobs.models import bundle as bundles

    folder = settings["folder"]
    rows = open_data(f"{folder}/archive", for_training=False).table
    how = Scoring(
        bundles=[bundles.read(f"{folder}/bundle")], engine="openvino", batch_size=32, run_id=""
    )
    began = time.time()
    child, marks = Child(), {}
    try:
        child.answer(os.getpid)
        marks["start"] = time.time()
        child.answer(scoring._load, how, len(os.sched_getaffinity(0)))
        marks["load"] = time.time()
        child.answer(scoring._score, rows.slice(0, 32))
        marks["block"] = time.time()
    finally:
        child.close()
    return {name: mark - began for name, mark in marks.items()}


def _print(title: str, steps: Mapping[str, str], runs: Sequence[Mapping[str, float]]) -> None:
    ends = {name: median(run[name] for run in runs) for name in steps}
    whole = max(ends.values())
    sys.stdout.write(f"{title}\n")
    before = 0.0
    for name, meaning in steps.items():
        start, length = (round(_WIDTH * part / whole) for part in (before, ends[name] - before))
        bar = " " * start + "#" * max(1, length)
        sys.stdout.write(f"  {meaning:38} {ends[name] - before:6.2f} s  |{bar}\n")
        before = ends[name]
    sys.stdout.write(f"  {'whole':38} {whole:6.2f} s\n")
