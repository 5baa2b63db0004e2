"""What other programs read of a run: partitions, Parquet types, CSV."""

import shutil
from pathlib import Path

import duckdb
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cnnjobs.inference.predict import predict
from tests.support.prediction_runs import check_record, config

pytestmark = pytest.mark.usefixtures("all_alone")


@pytest.mark.parametrize("key", ["label", "prefix"])
def test_a_partitioned_run_has_a_folder_for_each_value_and_the_same_rows(
    untrained: Path, drawn: Path, scored_folder: Path, tmp_path: Path, key: str
) -> None:
    shutil.copytree(drawn, tmp_path / "archive")
    loose = tmp_path / "archive" / "in no folder.png"
    shutil.copy(min(drawn.glob("normal/*.png")), loose)

    predict(config(untrained, tmp_path, partition_by=key, rows_per_file=16))

    folder = tmp_path / "run" / "predictions"
    names = {f"folder={key}_normal", f"folder={key}_opacity", f"folder=no_{key}"}
    assert {path.name for path in folder.iterdir()} == names
    table = pq.read_table(folder)
    assert table.num_rows == len(set(table["path"].to_pylist())) == 43
    inside = {path: Path(path).parent.name for path in table["path"].to_pylist()}
    inside[str(loose)] = None
    assert dict(zip(table["path"].to_pylist(), table[key].to_pylist(), strict=True)) == inside
    check_record(tmp_path)


def test_duckdb_reads_the_documented_types(scored_folder: Path) -> None:
    parts = f"'{scored_folder}/run/predictions/*.parquet'"

    types = {
        name: kind for name, kind, *_ in duckdb.sql(f"describe select * from {parts}").fetchall()
    }

    texts = ("path", "label", "prediction", "error", "warning", "model", "run_id")
    numbers = {"probability": "FLOAT", "width": "INTEGER", "height": "INTEGER"}
    times = dict.fromkeys(("scored_at", "gone_at"), "TIMESTAMP WITH TIME ZONE")
    assert types == dict.fromkeys(texts, "VARCHAR") | numbers | times
    counts = "count(*), count(distinct path), count(error), count(probability)"
    assert duckdb.sql(f"select {counts} from {parts}").fetchall() == [(42, 42, 2, 40)]


def test_the_csv_file_has_the_rows_of_the_parts(scored_folder: Path) -> None:
    rows = pq.read_table(scored_folder / "run" / "predictions")
    assert len(list((scored_folder / "run" / "predictions").iterdir())) == 3
    read = pacsv.read_csv(
        scored_folder / "run" / "predictions.csv",
        convert_options=pacsv.ConvertOptions(
            column_types=rows.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert read.cast(rows.schema).equals(rows)
