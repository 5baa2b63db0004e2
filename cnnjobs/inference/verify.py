"""`cnnjobs verify`: check that a run's predictions are complete, unchanged and unique."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import VerifyConfig
from cnnjobs.data import manifest
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.inference import parts, predictions
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, run_lock, s3


@dataclass(frozen=True, kw_only=True)
class VerifySummary:
    """What was checked, and in words what is wrong; a run without problems is whole."""

    run: str
    command: str
    status: str
    num_rows: int
    num_parts: int
    problems: Sequence[str]


def plan(config: VerifyConfig) -> dict[str, Any]:
    """What `--dry-run` prints."""
    uri, record = _open(config)
    return {"run": uri, "command": record["command"], "parts": len(record.get("files") or ())}


def verify(config: VerifyConfig, progress: Progress = silent) -> VerifySummary:
    """Compare the files of a run with its record; nothing is changed.

    Raises:
        InputError: there is no run, or it is of a command that writes no predictions.
    """
    uri, record = _open(config)
    progress("verify", 0, None)
    books, problems = parts.compare(uri, record)
    problems += [f"{uri}/{predictions.FOLDER}/{name} is missing" for name in books.missing]
    rows = books.rows()
    problems = [
        *_of_status(uri, record),
        *problems,
        *_of_rows(record, rows),
        *_of_images(uri, record, rows),
        *_of_csv(uri, rows),
    ]
    return VerifySummary(
        run=uri,
        command=record["command"],
        status=record["status"],
        num_rows=rows.num_rows,
        num_parts=len(books.parts),
        problems=problems,
    )


def judge(summary: VerifySummary) -> None:
    """Raise CnnjobsError if the run is not whole."""
    if summary.problems:
        raise CnnjobsError(f"{summary.run} is not whole: {summary.problems[0]}.")


def _open(config: VerifyConfig) -> tuple[str, Mapping[str, Any]]:
    s3.use(**config.s3)
    uri = filesystem.normalize(config.run)
    record = run_dir.read_record(uri)
    if record is None or record.get("command") not in ("predict", "evaluate", "crossval"):
        raise InputError(f"{uri} is not a run of predict, evaluate or crossval; give one.")
    return uri, record


def _of_status(uri: str, record: Mapping[str, Any]) -> Iterator[str]:
    holder = run_lock.holder(uri)
    if holder is not None:
        yield f"it is being written by {holder}"
    elif record["status"] != "done" or not run_dir.is_finished(uri):
        yield f"it is not finished (status {record['status']}); continue it with --resume"


def _of_rows(record: Mapping[str, Any], rows: pa.Table) -> Iterator[str]:
    """Images with more than one row; in a cross-validation, with more than one in a fold."""
    by = ["path", "part"] if record["command"] == "crossval" else ["path"]
    counts = rows.group_by(by).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        yield f"{twice.num_rows:,} images have more than one row, the first is {twice['path'][0]}"


def _of_images(uri: str, record: Mapping[str, Any], rows: pa.Table) -> Iterator[str]:
    """Images of the manifest without a row, and rows of other images."""
    if record["command"] == "crossval":
        return
    images = manifest.read(filesystem.join(uri, "manifest.parquet"))
    if record["command"] == "predict" and images.fingerprint != record["manifest"]:
        yield "manifest.parquet is not the one that was scored"
    is_predict = record["command"] == "predict"
    paths = images.select(record["config"]["split"] if is_predict else "all")["path"]
    for what, some, others in (
        ("images have no row", paths, rows["path"]),
        ("rows are of no image in the manifest", rows["path"], paths),
    ):
        left = some.filter(pc.invert(pc.is_in(some, value_set=others)))
        if len(left):
            yield f"{len(left):,} {what}, the first is {left[0]}"


def _of_csv(uri: str, rows: pa.Table) -> Iterator[str]:
    if not filesystem.exists(filesystem.join(uri, predictions.CSV)):
        return
    paths = predictions.read_csv(uri, ["path"])["path"].to_pylist()
    if sorted(paths) != sorted(rows["path"].to_pylist()):
        yield f"{predictions.CSV} does not have the rows of the table"
