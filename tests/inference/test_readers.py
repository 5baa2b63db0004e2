"""Every program that the documentation names reads every layout: all rows, as they were written."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cnnjobs.inference import predictions
from tests.support import prediction_tables

Rows = list[tuple[str, str | None]]
Read = Callable[[Path, str], Rows]


def from_duckdb(folder: Path, column: str, options: str = "") -> Rows:
    query = f"select path, {column} from read_parquet('{folder}/**/*.parquet'{options})"
    return duckdb.sql(query).fetchall()


def from_arrow(table, column: str) -> Rows:
    return list(zip(table["path"].to_pylist(), table[column].to_pylist(), strict=True))


def from_pandas(folder: Path, column: str) -> Rows:
    frame = pd.read_parquet(folder)
    values = [None if pd.isna(value) else value for value in frame[column]]
    return list(zip(frame["path"], values, strict=True))


READERS: dict[str, Read] = {
    "pyarrow": lambda folder, column: from_arrow(pq.read_table(folder), column),
    "pyarrow dataset": lambda folder, column: from_arrow(ds.dataset(folder).to_table(), column),
    "pyarrow hive": lambda folder, column: from_arrow(
        ds.dataset(folder, partitioning="hive").to_table(), column
    ),
    "pandas": from_pandas,
    "duckdb": from_duckdb,
    "duckdb hive": lambda folder, column: from_duckdb(folder, column, ", hive_partitioning=true"),
    "duckdb no hive": lambda folder, column: from_duckdb(
        folder, column, ", hive_partitioning=false"
    ),
    "polars": lambda folder, column: (
        pl.read_parquet(f"{folder}/**/*.parquet").select("path", column).rows()
    ),
    "polars lazy": lambda folder, column: (
        pl.scan_parquet(f"{folder}/**/*.parquet").select("path", column).collect().rows()
    ),
}


@pytest.mark.parametrize("layout", prediction_tables.LAYOUTS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gets_all_rows_with_their_own_texts(
    tmp_path: Path, layout: str, reader: str
) -> None:
    rows = prediction_tables.table()
    folder = prediction_tables.write(tmp_path, rows, layout)
    # what a job leaves that was killed, or that is still writing
    part = next(folder.rglob("*.parquet"))
    part.with_name(f".{part.name}.0123.partial").write_bytes(b"half a part")
    column = "prefix" if layout == "prefix" else "label"

    read = READERS[reader](folder, column)

    assert sorted(read, key=str) == sorted(from_arrow(rows, "label"), key=str)


@pytest.mark.parametrize("names", [["03", "7"], ["2024-01-01"], [None], ["normal", None]])
@pytest.mark.parametrize("reader", READERS)
def test_texts_stay_texts_where_all_look_like_numbers_or_are_null(
    tmp_path: Path, names: list[str | None], reader: str
) -> None:
    rows = prediction_tables.table(names)
    folder = prediction_tables.write(tmp_path, rows, "label")

    read = READERS[reader](folder, "label")

    assert sorted(read, key=str) == sorted(from_arrow(rows, "label"), key=str)


@pytest.mark.parametrize("layout", prediction_tables.LAYOUTS)
def test_our_own_reader_gets_all_rows(tmp_path: Path, layout: str) -> None:
    rows = prediction_tables.table()
    prediction_tables.write(tmp_path, rows, layout)

    read = predictions.read_whole(str(tmp_path), predictions.files(str(tmp_path)))

    assert read.select(rows.column_names).sort_by("path").equals(rows.sort_by("path"))
    if layout == "prefix":
        assert read["prefix"].equals(read["label"])
    else:
        assert read.column_names == rows.column_names


def test_names_that_differ_only_in_case_do_not_share_the_name_of_a_file(tmp_path: Path) -> None:
    rows = prediction_tables.table(["Normal", "normal"])
    folder = prediction_tables.write(tmp_path, rows, "label")

    parts = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")]

    # they would overwrite each other on a file server where case does not count
    assert len({part.lower() for part in parts}) == len(parts) == 2
