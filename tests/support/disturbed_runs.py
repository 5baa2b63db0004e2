"""Scoring runs that tests disturb: started in a separate process, and compared with a quiet one."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import PredictSummary, predict
from cnnjobs.progress import Progress
from tests.support.prediction_tables import without_session
from tests.support.processes import descendants, kill, kill_all, scorers, wait_until

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]
NUM_IMAGES, NUM_BROKEN = 480, 8
#: Addresses with which a job scores in a child process, and on a Ray of its own.
ALONE, OWN_RAY = "", "local"
#: A block has 4 batches of this size, which is one part of the predictions.
BATCH_SIZE, ROWS_PER_FILE = 4, 16


def run_config(inputs: Path, output: Path, **settings: Any) -> PredictConfig:
    return PredictConfig(
        bundle=str(inputs / "bundle"),
        data=str(inputs / "archive"),
        output=str(output),
        **{"batch_size": BATCH_SIZE, "rows_per_file": ROWS_PER_FILE, **settings},
    )


def resume(inputs: Path, output: Path, **settings: Any) -> PredictSummary:
    return predict(run_config(inputs, output, resume=True, **settings))


@contextmanager
def start_job(
    inputs: Path,
    output: Path,
    *flags: str,
    address: str = OWN_RAY,
    rows_per_file: int = ROWS_PER_FILE,
) -> Iterator["subprocess.Popen[str]"]:
    """Score in a separate process, which is killed at the end with everything it started."""
    sizes = ["--batch-size", str(BATCH_SIZE), "--rows-per-file", str(rows_per_file)]
    driver = subprocess.Popen(
        [*CNNJOBS, "predict", inputs / "bundle", inputs / "archive", "-o", output, *sizes, *flags],
        env={**os.environ, **environment(address, inputs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield driver
    finally:
        below = descendants(driver.pid)
        kill(driver.pid)
        driver.communicate()
        kill_all(below)


def environment(address: str, folder: Path) -> dict[str, str]:
    """Variables that make a job score there; alone, it must not find other tests' `ray start`."""
    return {"RAY_ADDRESS": address, **({} if address else {"RAY_TMPDIR": str(folder)})}


@contextmanager
def scorers_killed(output: Path, *, after: int) -> Iterator[None]:
    """Kill every scorer of this process as soon as it appears, once a run has so many parts."""
    over = threading.Event()

    def kill_every_one() -> None:
        while not over.wait(0.02):
            if count_parts(output) >= after:
                for pid in scorers(os.getpid()):
                    kill(pid)

    killer = threading.Thread(target=kill_every_one)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


@contextmanager
def moving_away(inputs: Path, output: Path, *, after: int) -> Iterator[Progress]:
    """A progress that moves the archive away once a run has so many parts; later it is back."""
    archive, away = inputs / "archive", inputs / "away"

    def move(step: str, done: int, total: int | None, note: str = "") -> None:
        if count_parts(output) >= after and archive.exists():
            archive.rename(away)

    try:
        yield move
    finally:
        away.rename(archive)


def check_complete(output: Path, undisturbed: pa.Table, *, in_order: bool = True) -> None:
    """Check that a run is finished, has the same rows in the same order, and its counts add up.

    Where images could not be read for a while, one that a thread had opened just before may have
    been kept, and then comes before those that were not.
    """
    record = read_record(output)
    assert (output / "_SUCCESS").exists()
    assert record["status"] == "done"
    rows = read_rows(output)
    if not in_order:
        rows, undisturbed = rows.sort_by("path"), undisturbed.sort_by("path")
    pairs = zip(rows.to_pylist(), undisturbed.to_pylist(), strict=True)
    assert [(row, other) for row, other in pairs if row != other] == []
    assert rows.equals(undisturbed)
    assert read_rows(output, in_parts=True).num_rows == NUM_IMAGES
    counts = record["rows"]
    assert counts["indexed"] == NUM_IMAGES
    assert counts["scored"] + sum(counts["failed"].values()) + counts["skipped"] == NUM_IMAGES


def read_rows(output: Path, *, in_parts: bool = False) -> pa.Table:
    """The rows that the record lists or, in an unfinished run, those in the parts."""
    record = read_record(output)
    folder = output / "predictions"
    listed = sorted(folder.glob("part-*.parquet"))
    if not in_parts and "files" in record:
        listed = [folder / name for name in record["files"]]
    return without_session(pa.concat_tables(pq.read_table(file) for file in listed))


def read_record(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record


def wait_for_parts(driver: "subprocess.Popen[str]", output: Path, number: int) -> None:
    """Wait until the run has this many parts."""
    wait_until(
        lambda: (
            driver.poll() is not None
            or ((output / "run.json").exists() and count_parts(output) >= number)
        )
    )
    assert driver.poll() is None, driver.communicate()[1]


def count_parts(output: Path) -> int:
    return len(list((output / "predictions").glob("part-*.parquet")))
