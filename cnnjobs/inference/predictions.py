"""The prediction table of a run: Parquet parts, each complete or absent."""

import dataclasses
import hashlib
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.errors import StorageError
from cnnjobs.inference.partitions import Partition
from cnnjobs.storage import filesystem, snapshots

FOLDER, CSV = "predictions", "predictions.csv"

#: What a run records of a part: its `rows` and its `sha256`.
Entry = Mapping[str, Any]

_PART = re.compile(r"(?:.*/)?part-(\d+)\.parquet")

_log = logging.getLogger(__name__)


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
    """Collects rows and writes them in parts of `rows_per_file` rows.

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
            rows_per_file: rows that are written at once: one part, or one in each of their folders.
            partition: the folder of each row; None keeps all parts in one folder.
        """
        self._run_uri = run_uri
        self._rows_per_file = rows_per_file
        self._held: list[pa.Table] = []
        #: Of all parts, old and new, by name relative to the folder of predictions.
        self.entries = dict(entries)
        self._partition = _as_in(entries, partition)
        self._number = _next_number(entries)
        #: Time spent writing.
        self.seconds = 0.0

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, StorageError):
            self._write(at_least=1)

    def add(self, table: pa.Table) -> bool:
        """Add rows; returns whether a part was written.

        Raises:
            StorageError: no permission, or no space left.
        """
        self._held.append(table)
        before = self._number
        self._write(at_least=self._rows_per_file)
        return self._number > before

    def rewrite(self, name: str, rows: pa.Table) -> None:
        """Replace a part; rows that now belong in another folder are added, without rows it goes.

        Never is a row in two parts.
        """
        folder = name.removesuffix(name.rpartition("/")[2])
        by_folder = dict(_split(rows, self._partition))
        stay = by_folder.pop(folder, rows.slice(0, 0))
        if stay.num_rows:
            self.entries[name] = write_part(self._run_uri, name, stay)
        else:
            filesystem.delete(filesystem.join(self._run_uri, FOLDER, name))
            self.entries.pop(name, None)
        for moved in by_folder.values():
            self.add(moved)

    def _write(self, *, at_least: int) -> None:
        """Write parts while so many rows are held."""
        began = time.monotonic()
        while sum(each.num_rows for each in self._held) >= at_least:
            held = pa.concat_tables(self._held)
            number = self._write_part(held.slice(0, self._rows_per_file))
            # a signal may interrupt this anywhere: the same rows are then written again under the
            # same names
            self._held, self._number = [held.slice(self._rows_per_file)], number
        self.seconds += time.monotonic() - began

    def _write_part(self, rows: pa.Table) -> int:
        """Write rows to one part, or to one in each of their folders; returns the next number."""
        number = self._number
        for folder, inside in _split(rows, self._partition):
            # not the same number in two folders, which may be one where case does not count
            name = f"{folder}part-{number:05d}.parquet"
            self.entries[name] = write_part(self._run_uri, name, inside)
            _log.info("wrote %d rows to %s", inside.num_rows, name)
            number += 1
        return number


def read(run_uri: str, parts: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """These columns of the parts."""
    empty = schema.predictions(2).empty_table().select(columns)
    return pa.concat_tables([empty, *(_read_part(run_uri, part).select(columns) for part in parts)])


def read_whole(run_uri: str, parts: Iterable[str]) -> pa.Table:
    """All columns of the parts, of which there must be at least one: it determines the schema."""
    tables = [_read_part(run_uri, part) for part in parts]
    return pa.concat_tables(tables, promote_options="default")


def has_csv(run_uri: str) -> bool:
    """Whether the run has a CSV file, which must have the rows of its parts."""
    return filesystem.is_file(filesystem.join(run_uri, CSV))


def write_csv(run_uri: str, parts: Sequence[str]) -> None:
    """Write all rows as one CSV file; lists become text with semicolons between the numbers."""
    with filesystem.writing(filesystem.join(run_uri, CSV)) as file:
        for number, part in enumerate(parts):
            header = pacsv.WriteOptions(include_header=number == 0)
            pacsv.write_csv(_flat(_read_part(run_uri, part)), file, header)


def read_csv(run_uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of the CSV file, as text, in tables of some rows."""
    texts = dict.fromkeys(columns, pa.string())
    options = pacsv.ConvertOptions(include_columns=list(columns), column_types=texts)
    lines = pacsv.ParseOptions(newlines_in_values=True)
    file = snapshots.opened(filesystem.join(run_uri, CSV))
    with pacsv.open_csv(file, parse_options=lines, convert_options=options) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _as_in(parts: Iterable[str], partition: Partition | None) -> Partition | None:
    """The partition, with folders named as those of the run."""
    if partition is None or not any(part.startswith(f"{partition.by}=") for part in parts):
        return partition
    return dataclasses.replace(partition, is_old=True)


def _split(rows: pa.Table, partition: Partition | None) -> Iterator[tuple[str, pa.Table]]:
    return iter([("", rows)]) if partition is None else partition.split(rows)


def _next_number(parts: Iterable[str]) -> int:
    """The number of the next part."""
    numbers = [int(match[1]) for match in map(_PART.fullmatch, parts) if match]
    return max(numbers, default=-1) + 1


def _read_part(run_uri: str, part: str) -> pa.Table:
    data = filesystem.read_file(filesystem.join(run_uri, FOLDER, part))
    table = pq.read_table(pa.BufferReader(data))
    for field in schema.ADDED_TO_PREDICTIONS:
        # written by an older version
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _in_partitions(folder: str) -> list[str]:
    """Parts in the folders of a partitioned run."""
    if not filesystem.exists(folder):
        return []
    inside = (filesystem.relative(file.path, folder) for file in filesystem.list_files(folder))
    return [name for name in inside if "/" in name and _PART.fullmatch(name)]


def _flat(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if row is None else _text(row) for row in table[field.name].to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _text(row: Sequence[object]) -> str:
    # a list of lists for an ensemble with more than two classes
    return ";".join(_text(each) if isinstance(each, list) else str(each) for each in row)
