"""Parquet files read in pieces, in memory that does not grow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs.storage import parquet_files


def test_row_groups_that_were_read_are_not_kept_as_pyarrow_by_itself_still_does(
    tmp_path: Path,
) -> None:
    file = tmp_path / "noise.parquet"
    noise = np.random.default_rng(0).random(1_000_000)
    pq.write_table(pa.table({"noise": noise}), file, row_group_size=10_000)

    assert _most_held(parquet_files.opened, file) < noise.nbytes / 4
    # once it does not, `parquet_files` can go
    assert _most_held(pq.ParquetFile, file) > noise.nbytes / 2


def test_metadata_that_come_last_are_read_like_those_that_came_first(tmp_path: Path) -> None:
    kind = pa.schema([pa.field("id", pa.int8(), nullable=False), ("name", pa.large_string())])
    table = pa.table({"id": [1, 2], "name": ["a", None]}, schema=kind)
    facts: dict[bytes, bytes] = {}
    with parquet_files.writing(str(tmp_path / "last"), kind, lambda: facts) as writer:
        writer.write_table(table)
        facts[b"made"] = b"in pieces"
    pq.write_table(table.replace_schema_metadata(facts), tmp_path / "first")
    read = [pq.read_table(tmp_path / name) for name in ("last", "first")]
    assert read[0].equals(read[1], check_metadata=True)
    assert read[0].schema.metadata == facts
    inside = [pq.read_metadata(tmp_path / name).metadata for name in ("last", "first")]
    assert inside[0] == inside[1]


def _most_held(opened: Callable[[Path], Any], file: Path) -> int:
    before, most = pa.total_allocated_bytes(), 0
    for _ in opened(file).iter_batches(10_000):
        most = max(most, pa.total_allocated_bytes() - before)
    return most
