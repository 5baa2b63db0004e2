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
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, rows in enumerate(in_pieces(tables, RUN_ROWS)):
            files.append(Path(folder) / f"{number}.parquet")
            pq.write_table(rows.sort_by("path"), files[-1], row_group_size=10 * _HEAD_ROWS)
        yield from _merged([_read(file) for file in files])


def _read(file: Path) -> Iterator[pa.Table]:
    with parquet_files.opened(file) as run:
        for batch in run.iter_batches(_HEAD_ROWS):
            yield pa.Table.from_batches([batch])


def _merged(runs: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    heads = [(next(run), run) for run in runs]
    while heads:
        # what comes later in any run is not below this
        bound = min(head["path"][-1].as_py() for head, _ in heads)
        ready, left = [], []
        for head, run in heads:
            number = pc.sum(pc.less_equal(head["path"], bound)).as_py()
            ready.append(head.slice(0, number))
            rest = head.slice(number) if number < head.num_rows else next(run, None)
            if rest is not None:
                left.append((rest, run))
        yield pa.concat_tables(ready).sort_by("path")
        heads = left
