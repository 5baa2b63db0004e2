"""Spark reads every layout. Not in CI, where 480 MB for one reader are too much:

pip install pyspark && apt-get install default-jre-headless && pytest tests/inference/test_spark.py
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import prediction_tables

sql = pytest.importorskip("pyspark.sql", reason="Spark is not installed: pip install pyspark")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java: apt-get install default-jre-headless", allow_module_level=True)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    settings = {"spark.ui.enabled": "false", "spark.log.level": "ERROR"}
    session = sql.SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
    yield session
    session.stop()


@pytest.mark.parametrize("layout", prediction_tables.LAYOUTS)
def test_spark_gets_all_rows_with_their_own_texts(spark: Any, tmp_path: Path, layout: str) -> None:
    rows = prediction_tables.table()
    folder = prediction_tables.write(tmp_path, rows, layout)
    part = next(folder.rglob("*.parquet"))
    part.with_name(f".{part.name}.0123.partial").write_bytes(b"half a part")
    column = "prefix" if layout == "prefix" else "label"

    read = spark.read.parquet(str(folder)).select("path", column).collect()

    expected = zip(rows["path"].to_pylist(), rows["label"].to_pylist(), strict=True)
    assert sorted(map(tuple, read), key=str) == sorted(expected, key=str)
