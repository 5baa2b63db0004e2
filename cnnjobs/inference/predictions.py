"""The prediction table of a run: Parquet parts, each complete or absent."""

import hashlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem

FOLDER, CSV = "predictions", "predictions.csv"

#: A function from a table to each row's Hive folder (`key=value`).
Partition = Callable[[pa.Table], pa.Array]

#: What a run records of a part: its `rows` and its `sha256`.
Entry = Mapping[str, Any]

#: The folder that Hive, Spark, DuckDB and pyarrow read as null.
_NULL = "__HIVE_DEFAULT_PARTITION__"

_PART = re.compile(r"(?:.*/)?part-(\d+)\.parquet")


def is_part(name: str) -> bool:
    """Whether a name, relative to the folder of predictions, is that of a part."""
    return _PART.fullmatch(name) is not None


def files(run_uri: str) -> list[str]:
    """Names of the parts of a run, relative to its folder of predictions."""
    folder = filesystem.join(run_uri, FOLDER)
    return [*filesystem.names(folder), *_in_partitions(folder)]


def write_part(run_uri: str, part: str, table: pa.Table) -> Entry:
    """Write a part, completely or not at all; returns its entry in the run's record."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    filesystem.write_bytes(filesystem.join(run_uri, FOLDER, part), data)
    return {"rows": table.num_rows, "sha256": hashlib.sha256(data).hexdigest()}


class Writer:
    """Collects rows and writes a part whenever it has enough of them.

    Use it in a `with` block: at its end the remaining rows become the last part, even if the job
    is interrupted, because they have been scored; but not if writing itself failed.
    """

    def __init__(
        self,
        run_uri: str,
        entries: Mapping[str, Entry],
        *,
        rows_per_file: int,
        partition: Partition | None,
    ) -> None:
        """Continue after the parts that exist already.

        Args:
            run_uri: the run.
            entries: of the parts that exist.
            rows_per_file: rows after which a part is written.
            partition: returns the folder of each row; None keeps all parts in one folder.
        """
        self._run_uri = run_uri
        self._rows_per_file = rows_per_file
        self._partition = partition
        self._held: list[pa.Table] = []
        #: Of all parts, old and new, by name relative to the folder of predictions.
        self.entries = dict(entries)
        self._number = _next_number(entries)
        #: Time spent writing.
        self.seconds = 0.0

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, StorageError):
            self._write()

    def add(self, table: pa.Table) -> bool:
        """Add rows; returns whether a part was written.

        Raises:
            StorageError: no permission, or no space left.
        """
        self._held.append(table)
        if sum(each.num_rows for each in self._held) < self._rows_per_file:
            return False
        self._write()
        return True

    def _write(self) -> None:
        if not self._held:
            return
        began = time.monotonic()
        table = pa.concat_tables(self._held)
        name = f"part-{self._number:05d}.parquet"
        for folder, rows in self._partitioned(table):
            self.entries[f"{folder}{name}"] = write_part(self._run_uri, f"{folder}{name}", rows)
        # a signal may interrupt this anywhere: the same rows are then written again under the
        # same name
        self._held = []
        self._number += 1
        self.seconds += time.monotonic() - began

    def _partitioned(self, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        if self._partition is None:
            yield "", table
            return
        folders = self._partition(table)
        for folder in pc.unique(folders).to_pylist():
            yield f"{folder}/", table.filter(pc.equal(folders, folder))


def by_label(table: pa.Table) -> pa.Array:
    """The Hive folder of each row by its label."""
    return _folders("label", table["label"].to_pylist())


def by_prefix(roots: Sequence[str]) -> Partition:
    """A partition by each path's first folder below one of `roots`."""

    def partition(table: pa.Table) -> pa.Array:
        return _folders("prefix", [_prefix(path, roots) for path in table["path"].to_pylist()])

    return partition


def read(run_uri: str, parts: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """These columns of the parts."""
    empty = schema.predictions(2).empty_table().select(columns)
    return pa.concat_tables([empty, *(_read_part(run_uri, part).select(columns) for part in parts)])


def read_whole(run_uri: str, parts: Iterable[str]) -> pa.Table:
    """All columns of the parts, of which there must be at least one: it determines the schema."""
    return pa.concat_tables([_read_part(run_uri, part) for part in parts])


def write_csv(run_uri: str, parts: Sequence[str]) -> None:
    """Write all rows as one CSV file; lists become text with semicolons between the numbers."""
    with filesystem.writing(filesystem.join(run_uri, CSV)) as file:
        for number, part in enumerate(parts):
            header = pacsv.WriteOptions(include_header=number == 0)
            pacsv.write_csv(_flat(_read_part(run_uri, part)), file, header)


def read_csv(run_uri: str, columns: Sequence[str]) -> pa.Table:
    """These columns of the CSV file, as text."""
    data = filesystem.read_file(filesystem.join(run_uri, CSV))
    texts = dict.fromkeys(columns, pa.string())
    options = pacsv.ConvertOptions(include_columns=list(columns), column_types=texts)
    lines = pacsv.ParseOptions(newlines_in_values=True)
    return pacsv.read_csv(pa.BufferReader(data), parse_options=lines, convert_options=options)


def _next_number(parts: Iterable[str]) -> int:
    """The number of the next part."""
    numbers = [int(match[1]) for match in map(_PART.fullmatch, parts) if match]
    return max(numbers, default=-1) + 1


def _read_part(run_uri: str, part: str) -> pa.Table:
    data = filesystem.read_file(filesystem.join(run_uri, FOLDER, part))
    return pq.read_table(pa.BufferReader(data))


def _in_partitions(folder: str) -> list[str]:
    """Parts in the folders of a partitioned run."""
    if not filesystem.exists(folder):
        return []
    inside = (filesystem.relative(file.path, folder) for file in filesystem.list_files(folder))
    return [name for name in inside if "/" in name and _PART.fullmatch(name)]


def _folders(key: str, values: Iterable[str | None]) -> pa.Array:
    quoted = (_NULL if value is None else urllib.parse.quote(value, safe="") for value in values)
    return pa.array([f"{key}={value}" for value in quoted], pa.string())


def _prefix(path: str, roots: Sequence[str]) -> str | None:
    root = next((root for root in roots if path.startswith(root.rstrip("/") + "/")), "")
    first, inner, _ = filesystem.relative(path, root).partition("/")
    return first if inner else None


def _flat(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if row is None else _text(row) for row in table[field.name].to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _text(row: Sequence[object]) -> str:
    # a list of lists for an ensemble with more than two classes
    return ";".join(_text(each) if isinstance(each, list) else str(each) for each in row)
