"""Tables of text: their encoding, their separator, and their rows."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from cnnjobs.data.tables.streams import opened, readable
from cnnjobs.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

#: Bytes that are read at once.
PIECE = 1 << 20

#: What pyarrow says of a row with too many or too few cells.
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected \d+ columns, got (\d+)")


@dataclass(kw_only=True)
class Text:
    """How the text of a table is read; `skip` are the lines before its first row."""

    encoding: str
    separator: str
    skip: int = 0

    def first_cells(self, text: str) -> list[str]:
        line = next((line for line in text.splitlines() if line.strip()), "")
        return line.split() if self.separator == " " else next(self._rows(text), [])

    def lines_of_first(self, text: str) -> int:
        if self.separator == " ":
            return 1
        reader = self._rows(text)
        next(reader)
        return int(reader.line_num)

    def width(self, text: str) -> int:
        if self.separator != " ":
            return len(self.first_cells(text))
        lines = [line.split() for line in text.splitlines()[:1000] if line.strip()]
        return Counter(map(len, lines)).most_common(1)[0][0]

    def tables(self, uri: str, columns: Sequence[str], kinds: dict[str, Any]) -> Iterator[pa.Table]:
        """The rows of the columns in `kinds`, by their types, a piece of the file at a time."""
        if self.separator == " ":
            yield from self._list(uri, columns, kinds)
            return
        # no row handler and no decoder of Python's: a thread of Arrow may use or free them while
        # Python exits, which aborts the process (apache/arrow#34314)
        with opened(uri) as source, readable(uri):
            try:
                reader = pacsv.open_csv(
                    source if self.encoding == "utf-8" else _as_utf8(source, self.encoding),
                    pacsv.ReadOptions(
                        column_names=list(columns),
                        skip_rows=self.skip,
                        block_size=16 * PIECE,
                        use_threads=False,
                    ),
                    pacsv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
                    pacsv.ConvertOptions(
                        include_columns=list(kinds),
                        column_types=kinds,
                        strings_can_be_null=True,
                    ),
                )
                for batch in reader:
                    yield pa.Table.from_batches([batch])
            except pa.ArrowInvalid as error:
                ragged = _RAGGED.match(str(error))
                if ragged is None:
                    raise
                where = f"row {int(ragged[1]) - self.skip}" if ragged[1] else "a row"
                raise InputError(
                    f"{where} of {uri} has {ragged[2]} cells, the table has {len(columns)} "
                    "columns; put cells that contain the separator in quotes."
                ) from error

    def _list(self, uri: str, columns: Sequence[str], kinds: dict[str, Any]) -> Iterator[pa.Table]:
        """Lines of words; the second may be a file name with spaces."""
        number = len(columns)
        with opened(uri) as source, readable(uri):
            lines = codecs.getreader(self.encoding)(source)
            for _ in range(self.skip):
                next(lines, None)
            while part := lines.readlines(PIECE):
                rows = [_words(line, number) for line in part if line.strip()]
                texts: list[Any] = list(zip(*rows, strict=True)) or [[]] * number
                yield pa.table(
                    {
                        name: pa.array(texts[columns.index(name)], pa.string()).cast(kind)
                        for name, kind in kinds.items()
                    }
                )

    def _rows(self, text: str) -> Any:
        return csv.reader(io.StringIO(text, newline=""), delimiter=self.separator)


def _words(line: str, number: int) -> list[str | None]:
    words: list[str | None] = [*line.split()]
    more = len(words) - number
    if number == 1:
        return [line.strip()]
    if more > 0:
        words = [words[0], " ".join(map(str, words[1 : more + 2])), *words[more + 2 :]]
    return words + [None] * -more


def encoding_of(uri: str, start: bytes) -> tuple[str, str]:
    """The encoding of a text, and its name; the whole file is decoded to be sure."""
    low, high = start[1:200:2], start[:200:2]
    # half of the bytes of a text in Latin letters are 0
    for encoding, is_it in (
        ("utf-16", start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))),
        ("utf-16-le", low.count(0) > len(low) / 2),
        ("utf-16-be", high.count(0) > len(high) / 2),
    ):
        if is_it:
            if not _decodes(uri, encoding):
                raise InputError(f"{uri} is damaged UTF-16; save it as CSV in UTF-8.")
            return encoding, "UTF-16"
    # Windows-1252 is Latin-1 with characters in place of most control codes
    for encoding, name in (("utf-8", "UTF-8"), ("cp1252", "Latin-1")):
        if _decodes(uri, encoding):
            return encoding, name
    return "latin-1", "Latin-1"


def _as_utf8(source: Any, encoding: str) -> pa.BufferReader:
    """The text of a file in another encoding, in memory."""
    decoder = codecs.getincrementaldecoder(encoding)()
    text = pa.BufferOutputStream()
    while part := source.read(PIECE):
        text.write(decoder.decode(part).encode())
    text.write(decoder.decode(b"", final=True).encode())
    return pa.BufferReader(text.getvalue())


def _decodes(uri: str, encoding: str) -> bool:
    """Whether all of a file is text in an encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with opened(uri) as source, readable(uri):
        try:
            while part := source.read(PIECE):
                decoder.decode(part)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def separator_of(text: str) -> str:
    """The separator that gives the first lines the same, largest number of cells."""
    best = (0, " ")
    for separator in SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [row for row, _ in zip(reader, range(20), strict=False) if row]
        if len(text) >= PIECE // 2 and len(rows) > 1:
            rows = rows[:-1]
        equal = sum(len(row) == len(rows[0]) for row in rows)
        score = len(rows[0]) if equal >= len(rows) / 2 else 1
        best = max(best, (score, separator)) if score > 1 and score > best[0] else best
    return best[1]
