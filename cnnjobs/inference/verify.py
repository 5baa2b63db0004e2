"""`cnnjobs verify`: check that a run's predictions are complete, unchanged and unique."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import VerifyConfig
from cnnjobs.config.printable import counted
from cnnjobs.data import external_sort, manifest_file
from cnnjobs.data.images import PIECE_ROWS, Images, in_pieces
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.inference import parts, predictions
from cnnjobs.inference.parts import Books
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, run_lock, s3

#: Rows that are looked up at once, and images that they are compared with at once.
_ROWS_AT_ONCE = 1_000_000


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
    is_crossval = record["command"] == "crossval"
    problems = [
        *_of_status(uri, record),
        *problems,
        *(_of_folds(books) if is_crossval else _of_images(uri, record, books)),
        *_of_csv(uri, books),
    ]
    return VerifySummary(
        run=uri,
        command=record["command"],
        status=record["status"],
        num_rows=books.num_rows,
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


def _of_folds(books: Books) -> Iterator[str]:
    """Images with more than one row in a fold."""
    twice = _twice(books.rows(), ["path", "part"])
    if twice.num_rows:
        yield _more_than_one(twice.num_rows, twice["path"][0].as_py())


def _of_images(uri: str, record: Mapping[str, Any], books: Books) -> Iterator[str]:
    """Images of the manifest with several rows or none, and rows of other images."""
    images = manifest_file.opened(filesystem.join(uri, "manifest.parquet"))
    is_predict = record["command"] == "predict"
    if is_predict and images.fingerprint != record["manifest"]:
        yield "manifest.parquet is not the one that was scored"
    split = record["config"]["split"] if is_predict else "all"
    num_known = num_twice = num_lacking = 0
    first_twice = first_lacking = ""
    for some, rows in books.matched(images.rows(split, ["path"])):
        num_known += rows.num_rows
        if (twice := _twice(rows, ["path"])).num_rows:
            num_twice += twice.num_rows
            first_twice = first_twice or twice["path"][0].as_py()
        lacking = some["path"].filter(pc.invert(pc.is_in(some["path"], value_set=rows["path"])))
        if len(lacking):
            num_lacking += len(lacking)
            first_lacking = first_lacking or lacking[0].as_py()
    others = pa.table({"path": pa.nulls(0, pa.string())})
    if books.num_rows > num_known:
        others = _of_none(books, images, split)
        twice = _twice(others, ["path"])
        num_twice += twice.num_rows
        first_twice = first_twice or (twice["path"][0].as_py() if twice.num_rows else "")
    if num_twice:
        yield _more_than_one(num_twice, first_twice)
    if num_lacking:
        yield f"no row for {counted(num_lacking, 'image')}, the first of them {first_lacking}"
    if others.num_rows:
        first = others["path"][0]
        yield f"{counted(others.num_rows, 'row')} of no image in the manifest, the first of {first}"


def _twice(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    counts = rows.group_by(by).aggregate([([], "count_all")])
    return counts.filter(pc.greater(counts["count_all"], 1))


def _more_than_one(number: int, first: str) -> str:
    return f"more than one row for {counted(number, 'image')}, the first of them {first}"


def _of_none(books: Books, images: Images, split: str) -> pa.Table:
    """The paths of the rows of no image."""
    found = []
    for rows in in_pieces((books.rows([name]) for name in books.parts), _ROWS_AT_ONCE):
        others = rows.select(["path"])
        for some in in_pieces(images.rows(split, ["path"]), _ROWS_AT_ONCE):
            others = others.filter(pc.invert(pc.is_in(others["path"], value_set=some["path"])))
        found.append(others)
    return pa.concat_tables(found)


def _of_csv(uri: str, books: Books) -> Iterator[str]:
    if not predictions.has_csv(uri):
        return
    tables = (books.rows([name]).select(["path"]) for name in books.parts)
    written = predictions.read_csv(uri, ["path"])
    ours, theirs = (
        in_pieces(external_sort.by_path(rows), PIECE_ROWS) for rows in (tables, written)
    )
    if any(
        one is None or other is None or not one["path"].equals(other["path"])
        for one, other in itertools.zip_longest(ours, theirs)
    ):
        yield f"{predictions.CSV} does not have the rows of the table"
