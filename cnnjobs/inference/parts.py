"""The books of a prediction table: each part with its rows and hash, checked against the folder."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.errors import RunDamagedError
from cnnjobs.inference import predictions
from cnnjobs.inference.predictions import Entry, Writer
from cnnjobs.storage import filesystem, run_files
from cnnjobs.storage.run_dir import Run

_COLUMNS = ("path", "label", "error", "gone_at")


@dataclass(frozen=True, kw_only=True)
class Books:
    """The parts of a run that are in its folder, as they should be.

    Attributes:
        entries: by the name of the part.
        rows: of all parts, the columns path, label, error, gone_at and part.
        missing: names of parts that are recorded, but gone.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    rows: pa.Table = field(default_factory=lambda: _rows([]))
    missing: tuple[str, ...] = ()

    def without(self, paths: pa.Array) -> "Books":
        """The books without the rows of these paths."""
        kept = self.rows.filter(pc.invert(pc.is_in(self.rows["path"], value_set=paths)))
        return Books(entries=self.entries, rows=kept, missing=self.missing)

    def parts_with(self, paths: pa.Array) -> list[str]:
        """The parts that contain rows of these paths."""
        found = self.rows["part"].filter(pc.is_in(self.rows["path"], value_set=paths))
        return sorted(pc.unique(found).to_pylist())


def rewrite(
    run: Run, names: Sequence[str], change: Callable[[pa.Table], pa.Table], writer: Writer
) -> None:
    """Replace parts by what `change` makes of their rows; a part left without rows is deleted.

    The entries of these parts are withdrawn first, so that a run stopped in between is not taken
    for damaged.
    """
    for name in names:
        writer.entries.pop(name)
    run.learn(parts=writer.entries)
    with writer:
        for name in names:
            writer.rewrite(name, change(predictions.read_whole(run.uri, [name])))
    run.learn(parts=writer.entries)


def check(run_uri: str, record: Mapping[str, Any]) -> Books:
    """Compare the folder of predictions with a run's record.

    A part without an entry was written shortly before its process was killed: it counts if it is
    whole and has the run's `run_id`.

    Raises:
        RunDamagedError: a file is not what the run wrote; it is named.
    """
    books, problems = compare(run_uri, record)
    if problems:
        raise RunDamagedError(f"{problems[0]}; restore it or move it away, or use --overwrite.")
    return books


def compare(run_uri: str, record: Mapping[str, Any]) -> tuple[Books, list[str]]:
    """The parts in the folder that are as they should be, and what is wrong with other files."""
    # older runs recorded no more than the names
    recorded = record.get("parts") or {name: {} for name in record.get("files") or ()}
    entries, tables, problems = {}, [], []
    found = _names(run_uri)
    for name in found:
        try:
            table, entry = _read(run_uri, name, record["run_id"], recorded.get(name, {}))
        except RunDamagedError as error:
            problems.append(str(error))
            continue
        entries[name] = entry
        tables.append(table.append_column("part", pa.repeat(pa.scalar(name), table.num_rows)))
    missing = tuple(name for name in recorded if name not in found)
    return Books(entries=entries, rows=_rows(tables), missing=missing), problems


def _names(run_uri: str) -> list[str]:
    """Everything in the folder of predictions but partial files that a killed process left."""
    names = run_files.names(filesystem.join(run_uri, predictions.FOLDER))
    return sorted(name for name in names if not run_files.is_left_over(name))


def _read(run_uri: str, name: str, run_id: str, entry: Entry) -> tuple[pa.Table, Entry]:
    """Some columns of a part, and its entry.

    Raises:
        RunDamagedError: it is not what the run wrote.
    """
    uri = filesystem.join(run_uri, predictions.FOLDER, name)
    if not predictions.is_part(name):
        raise RunDamagedError(f"{uri} is not a file of its run")
    data = filesystem.read_file(uri)
    digest = hashlib.sha256(data).hexdigest()
    if entry and entry["sha256"] != digest:
        raise RunDamagedError(f"{uri} is not the file that its run wrote ({entry['rows']} rows)")
    try:
        # older versions did not write all columns
        table = pq.ParquetFile(pa.BufferReader(data)).read([*_COLUMNS, "run_id"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunDamagedError(f"{uri} is damaged or not a table of predictions") from error
    if pc.any(pc.not_equal(table["run_id"], run_id)).as_py():
        raise RunDamagedError(f"{uri} is from another run ({table['run_id'][0]})")
    return table.drop_columns("run_id"), {"rows": table.num_rows, "sha256": digest}


def _rows(tables: list[pa.Table]) -> pa.Table:
    predicted = schema.predictions(2)
    columns = [predicted.field(name) for name in _COLUMNS]
    empty = pa.schema([*columns, pa.field("part", pa.string())]).empty_table()
    return pa.concat_tables([empty, *tables], promote_options="permissive")
