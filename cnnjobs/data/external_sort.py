"""Sorting rows that do not fit in memory: in runs, which are then merged from temporary files."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs.data.images import in_pieces
from cnnjobs.storage import parquet_files

#: Rows of a run, and how many of each are held while the runs are merged.
RUN_ROWS, _HEAD_ROWS = 500_000, 5_000


def by_path(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows in the order of their column `path`, in tables of any size."""
    return by("path", tables)


def by(column: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows in the order of a column without nulls, in tables of any size."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, rows in enumerate(in_pieces(tables, RUN_ROWS)):
            files.append(Path(folder) / f"{number}.parquet")
            pq.write_table(rows.sort_by(column), files[-1], row_group_size=_HEAD_ROWS)
        yield from _merged([_read(file) for file in files], column)


def _read(file: Path) -> Iterator[pa.Table]:
    with parquet_files.opened(file) as run:
        for batch in run.iter_batches(_HEAD_ROWS):
            yield pa.Table.from_batches([batch])


def aligned(*streams: Iterable[pa.Table], column: str = "path") -> Iterator[list[pa.Table | None]]:
    """Ordered rows of several streams, one range of paths after another.

    Args:
        streams: each in the order of the column, in tables of any size.
        column: without nulls.

    Yields:
        For each stream its rows in a range, or None if it has none there.
    """
    tables = [(table for table in stream if table.num_rows) for stream in streams]
    heads = [next(stream, None) for stream in tables]
    while any(head is not None for head in heads):
        # what comes later in any stream is not below this
        bound = min(head[column][-1].as_py() for head in heads if head is not None)
        ready: list[pa.Table | None] = []
        for place, head in enumerate(heads):
            if head is None:
                ready.append(None)
                continue
            number = pc.sum(pc.less_equal(head[column], bound)).as_py()
            ready.append(head.slice(0, number) if number else None)
            rest = head.slice(number)
            heads[place] = rest if rest.num_rows else next(tables[place], None)
        yield ready


def _merged(runs: list[Iterator[pa.Table]], column: str) -> Iterator[pa.Table]:
    for tables in aligned(*runs, column=column):
        yield pa.concat_tables([rows for rows in tables if rows is not None]).sort_by(column)
