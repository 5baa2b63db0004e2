"""Files of tables: CSV in any encoding and with any separator, Parquet, and text lists."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import IMAGE_SUFFIXES
from cnnjobs.data.tables.streams import opened, readable
from cnnjobs.data.tables.text import SEPARATORS, Text, encoding_of, separator_of
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress
from cnnjobs.storage import filesystem, parquet_files

#: What is read to recognize encoding, separator and header, and the rows to guess columns from.
_HEAD_BYTES, _HEAD_ROWS = 1 << 20, 5_000

#: Few distinct values take little memory.
_ENCODED = pa.dictionary(pa.int32(), pa.string())

_IMAGE_NAME = re.compile(rf"({'|'.join(map(re.escape, IMAGE_SUFFIXES))})$", re.IGNORECASE)

#: How files begin that are no tables but text.
_OTHER = re.compile(r"\s*(<|\{\s*\"|\[\s*[\[{])")

#: Names of columns that begin a list with a header.
_HEADER_WORDS = frozenset(
    (
        *("path", "filepath", "imagepath", "file", "filename", "image", "imageindex", "imagename"),
        *("imageid", "img", "name", "id", "dicomid", "label", "class", "patientid", "patient"),
        *("sopinstanceuid", "studyinstanceuid", "accessionnumber"),
    )
)


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table that was opened: its columns and first rows; `load` reads the rest.

    Attributes:
        uri: where it is.
        columns: their names; those of a list without a header are "1", "2" and so on.
        head: the first rows, as texts.
        form: what was recognized, for the report.
        has_header: whether the columns have names.
    """

    uri: str
    columns: Sequence[str]
    head: pa.Table
    form: str
    has_header: bool = True
    details: Any = field(repr=False, default=None)

    def load(self, names: Sequence[str], whole: Sequence[str], progress: Progress) -> pa.Table:
        """The named columns as texts, dictionary-encoded except for those in `whole`."""
        tables = []
        num_rows = 0
        for table in self._tables(names, whole):
            num_rows += table.num_rows
            progress("table", num_rows, None)
            tables.append(table)
        if not num_rows:
            raise InputError(f"{self.uri} has no rows; give one row per image.")
        return pa.concat_tables(tables).unify_dictionaries().combine_chunks()

    def _tables(self, names: Sequence[str], whole: Sequence[str]) -> Iterator[pa.Table]:
        kinds = {name: pa.string() if name in whole else _ENCODED for name in names}
        if isinstance(self.details, Text):
            yield from self.details.tables(self.uri, self.columns, kinds)
            return
        with opened(self.uri) as source, readable(self.uri):
            file = parquet_files.opened(source)
            for batch in file.iter_batches(columns=list(names)):
                yield pa.table(
                    {name: _as_text(batch[name]).cast(kind) for name, kind in kinds.items()}
                )


def open_table(uri: str) -> TableFile:
    """Open a table and recognize its form.

    Raises:
        InputError: it does not exist, is empty, or is not a table of text or Parquet.
    """
    uri = filesystem.normalize(uri)
    with opened(uri) as source, readable(uri):
        start = source.read(_HEAD_BYTES)
    if start.strip() in (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise InputError(f"{uri} is empty; give a table with one row per image.")
    if start.startswith(b"PAR1"):
        return _open_parquet(uri)
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(f"{uri} is a workbook or an archive; save it as CSV.")
    return _open_text(uri, start)


def _open_parquet(uri: str) -> TableFile:
    with opened(uri) as source, readable(uri):
        file = parquet_files.opened(source)
        columns = [name for name in file.schema_arrow.names if not name.startswith("__index_")]
        _check_names(uri, columns)
        batch = next(file.iter_batches(batch_size=_HEAD_ROWS, columns=columns), None)
    if batch is None or not batch.num_rows:
        raise InputError(f"{uri} has no rows; give one row per image.")
    head = pa.table({name: _as_text(batch[name]) for name in columns})
    return TableFile(uri=uri, columns=columns, head=head, form="Parquet")


def _open_text(uri: str, start: bytes) -> TableFile:
    encoding, name = encoding_of(uri, start)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise InputError(f"{uri} is not a table of text; give CSV, TSV, Parquet or a list.")
    if other := _OTHER.match(text):
        kind = "HTML or XML" if other[1] == "<" else "JSON"
        raise InputError(f"{uri} is {kind}; save it as CSV.")
    skip = 0
    if re.match(r"sep=.\r?\n", text):
        # written by Excel for itself
        line, _, text = text.partition("\n")
        separator, skip = line[4], 1
    else:
        separator = separator_of(text)
    details = Text(encoding=encoding, separator=separator, skip=skip)
    first = details.first_cells(text)
    named = not any(_IMAGE_NAME.search(cell.strip()) for cell in first) and (
        (len(first) > 1 and separator != " ")
        or any(re.sub(r"\W|_", "", cell.lower()) in _HEADER_WORDS for cell in first)
    )
    if named:
        details.skip += details.lines_of_first(text)
        columns = [cell.strip() or f"column {number}" for number, cell in enumerate(first, 1)]
        _check_names(uri, columns)
    else:
        columns = [str(number) for number in range(1, details.width(text) + 1)]
    form = f"{name}, separated by {SEPARATORS.get(separator, 'spaces')}"
    if len(columns) == 1:
        form = f"{name}, one column"
    form += "" if named else ", no header"
    has_rows = any(line.strip() for line in text.splitlines()[details.skip - skip :])
    # a header alone, without the end of its line, is no table for pyarrow
    tables = details.tables(uri, columns, dict.fromkeys(columns, pa.string()))
    head = next(tables, None) if has_rows else None
    if head is None or not head.num_rows:
        given = "a header and " if named else ""
        raise InputError(f"{uri} has {given}no rows; give one row per image.")
    return TableFile(
        uri=uri,
        columns=columns,
        head=head.slice(0, _HEAD_ROWS),
        form=form,
        has_header=named,
        details=details,
    )


def _check_names(uri: str, columns: Sequence[str]) -> None:
    name, count = Counter(columns).most_common(1)[0]
    if count > 1:
        raise InputError(f"{uri} has {count} columns named {name!r}; rename all but one.")


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if (
        pa.types.is_floating(column.type)
        and pc.all(pc.equal(column, pc.round(column)), min_count=0).as_py()
    ):
        # pandas makes whole numbers with gaps to floats
        column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64(), safe=False)
    if pa.types.is_nested(column.type):
        return pa.nulls(len(column), pa.string())
    return column.cast(pa.string())
