"""What other programs read of a run: partitions, Parquet types, CSV."""

import shutil
from pathlib import Path

import duckdb
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cnnjobs.inference.predict import predict
from tests.support.prediction_runs import check_record, config

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("key", ["label", "prefix"])
def test_partitions_are_read_by_pyarrow_and_duckdb(
    untrained: Path, drawn: Path, scored_folder: Path, tmp_path: Path, key: str
) -> None:
    shutil.copytree(drawn, tmp_path / "archive")
    loose = tmp_path / "archive" / "in no folder.png"
    shutil.copy(min(drawn.glob("normal/*.png")), loose)

    predict(config(untrained, tmp_path, partition_by=key, rows_per_file=16))

    folder = tmp_path / "run" / "predictions"
    names = {"normal", "opacity", "__HIVE_DEFAULT_PARTITION__"}
    assert {path.name for path in folder.iterdir()} == {f"{key}={name}" for name in names}
    if key == "prefix":
        table = ds.dataset(folder, partitioning="hive").to_table()
        query = f"select prefix, count(*) from '{folder}/*/*.parquet' group by prefix"
        found = {name: number for name, number in duckdb.sql(query).fetchall() if name in names}
        counted = {name: table["prefix"].to_pylist().count(name) for name in ("normal", "opacity")}
        assert {name: found[name] for name in counted} == counted
    else:
        # the column is in the files, too, with the same values
        table = ds.dataset(folder).to_table()
        query = f"select label, count(*) from read_parquet('{folder}/*/*.parquet', "
        query += "hive_partitioning=false) group by label"
        counted = dict(duckdb.sql(query).fetchall())
        assert counted.pop(None) == 1
        assert counted == {
            name: table["label"].to_pylist().count(name) for name in ("normal", "opacity")
        }
    assert table.num_rows == len(set(table["path"].to_pylist())) == 43
    check_record(tmp_path)


def test_duckdb_reads_the_documented_types(scored_folder: Path) -> None:
    parts = f"'{scored_folder}/run/predictions/*.parquet'"

    types = {
        name: kind for name, kind, *_ in duckdb.sql(f"describe select * from {parts}").fetchall()
    }

    texts = ("path", "label", "prediction", "error", "warning", "model", "run_id")
    numbers = {"probability": "FLOAT", "width": "INTEGER", "height": "INTEGER"}
    assert types == dict.fromkeys(texts, "VARCHAR") | numbers
    counts = "count(*), count(distinct path), count(error), count(probability)"
    assert duckdb.sql(f"select {counts} from {parts}").fetchall() == [(42, 42, 2, 40)]


def test_the_csv_file_has_the_rows_of_the_parts(scored_folder: Path) -> None:
    rows = pq.read_table(scored_folder / "run" / "predictions")
    assert len(list((scored_folder / "run" / "predictions").iterdir())) == 2
    read = pacsv.read_csv(
        scored_folder / "run" / "predictions.csv",
        convert_options=pacsv.ConvertOptions(
            column_types=rows.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert read.cast(rows.schema).equals(rows)
