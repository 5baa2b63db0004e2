"""Parquet files with a column of image files, such as img2dataset's and Hugging Face's."""

import bisect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs.config.constants import IMAGE_SUFFIXES
from cnnjobs.config.regular_files import TooLargeError
from cnnjobs.storage.archives.files import ArchiveFile, Version
from cnnjobs.storage.archives.formats import DamagedError, Entry, explained
from cnnjobs.storage.archives.names import inside

#: Columns that hold image files, the surest first: bytes, or Hugging Face's struct of bytes.
COLUMNS = ("image", *(suffix[1:] for suffix in IMAGE_SUFFIXES), "img", "image_bytes", "bytes")

#: Columns whose texts or numbers name the rows.
KEYS = ("__key__", "key", "file_name", "filename", "path", "id")

#: About so many bytes of images are read at once, and so many rows at most.
_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 256

#: Batches kept: threads ask for neighbouring rows, not quite in order.
_NUM_BATCHES = 4


_NOTHING: tuple[int, int, Iterator[pa.RecordBatch]] = (-1, 0, iter(()))


class NoImagesError(DamagedError):
    """It is a table without image files."""


class Table:
    """A Parquet file: its footer is kept, and rows are read forward in batches."""

    def __init__(self, version: Version) -> None:
        """Read the footer.

        Raises:
            NoImagesError: it is another kind of table.
            DamagedError: it cannot be read.
        """
        self._source = ArchiveFile(version)
        self._lock = threading.Lock()
        with explained(self._source):
            # buffered: else all of a column's row group is read before its first row
            self._file = pq.ParquetFile(pa.PythonFile(self._source, "r"), buffer_size=1 << 20)
            self._column = _image_column(self._file.schema_arrow)
            meta = self._file.metadata
            leaves = [meta.schema.column(number).path for number in range(meta.num_columns)]
            leaf = leaves.index(self._column)
        groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
        self._bytes: list[int] = [group.column(leaf).total_uncompressed_size for group in groups]
        self._starts: list[int] = [0, *itertools.accumulate(group.num_rows for group in groups)]
        self._batches: OrderedDict[int, pa.Array] = OrderedDict()
        # the row group being read, the next row, and the batches from there on
        self._reading = _NOTHING
        self._names: list[str] | None = None

    def entries(self) -> Iterator[Entry]:
        """All rows; the size of one is the mean of its row group. See `formats.Reader`."""
        names = self._row_names()
        for number, start in enumerate(self._starts[:-1]):
            end = self._starts[number + 1]
            for row in range(start, end):
                yield Entry(names[row], self._bytes[number] // (end - start), row)

    def read(self, at: int, limit: int) -> tuple[str, bytes]:
        """Name and image of a row, by its number; see `formats.Reader`."""
        name = self._row_names()[at]
        with self._lock, explained(self._source):
            try:
                value = self._value(at)
            except Exception:
                self._reading = _NOTHING
                raise
        data = value.as_buffer()
        if data is None:
            raise DamagedError("its row holds no bytes")
        if data.size > limit:
            raise TooLargeError.of(data.size, limit)
        return name, data.to_pybytes()

    def _row_names(self) -> list[str]:
        with self._lock, explained(self._source):
            if self._names is None:
                self._names = self._named()
            return self._names

    def _named(self) -> list[str]:
        """The key of each row, where all have different ones; else their numbers."""
        num_rows = self._file.metadata.num_rows
        for key in _key_columns(self._file.schema_arrow, self._column):
            column = _leaf(self._file.read(columns=[key])).cast(pa.string())
            if column.null_count == 0 and pc.count_distinct(column).as_py() == num_rows:
                names: list[str] = column.to_pylist()
                if all(name == inside(name) for name in names):
                    return names
        return [str(row) for row in range(num_rows)]

    def _value(self, row: int) -> pa.Scalar:
        for start, batch in self._batches.items():
            if start <= row < start + len(batch):
                return batch[row - start]
        group = bisect.bisect_right(self._starts, row) - 1
        if self._reading[0] != group or row < self._reading[1]:
            self._reading = (
                group,
                self._starts[group],
                self._file.iter_batches(
                    self._batch_rows(group), row_groups=[group], columns=[self._column]
                ),
            )
        _, start, batches = self._reading
        while start <= row:
            batch = _leaf(pa.Table.from_batches([next(batches)])).combine_chunks()
            self._batches[start] = batch
            if len(self._batches) > _NUM_BATCHES:
                self._batches.popitem(last=False)
            start += len(batch)
            self._reading = group, start, batches
        return self._value(row)

    def _batch_rows(self, group: int) -> int:
        mean = self._bytes[group] // max(self._starts[group + 1] - self._starts[group], 1)
        return min(max(_BATCH_BYTES // max(mean, 1), 1), _BATCH_ROWS)


def _image_column(schema: pa.Schema) -> str:
    """The column with the images, with a dot before the field of a struct."""
    if b"cnnjobs" in (schema.metadata or {}):
        raise NoImagesError("it is a manifest")
    fields = {field.name.lower(): field for field in schema}
    for known in COLUMNS:
        field = fields.get(known)
        if field is None:
            continue
        name: str = field.name
        if _is_bytes(field.type):
            return name
        if pa.types.is_struct(field.type):
            index = field.type.get_field_index("bytes")
            if index >= 0 and _is_bytes(field.type.field(index).type):
                return f"{name}.bytes"
    raise NoImagesError(f"it has no column of image files ({', '.join(COLUMNS)})")


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _key_columns(schema: pa.Schema, image: str) -> Iterator[str]:
    names = {field.name.lower(): field for field in schema}
    for known in KEYS:
        field = names.get(known)
        if field is not None and (pa.types.is_integer(field.type) or _is_text(field.type)):
            yield field.name
    column, is_struct, _ = image.partition(".bytes")
    if is_struct and schema.field(column).type.get_field_index("path") >= 0:
        yield f"{column}.path"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _leaf(table: pa.Table) -> pa.ChunkedArray:
    """The one column that was read, or the one field of its struct."""
    column = table.column(0)
    return pc.struct_field(column, [0]) if pa.types.is_struct(column.type) else column
