"""A folder with an archive and its scoring run: configure it, read it, check its record."""

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from cnnjobs.config import PredictConfig
from tests.support.prediction_tables import without_session


def config(bundle: Path, folder: Path, **settings: Any) -> PredictConfig:
    return PredictConfig(
        bundle=str(bundle), data=str(folder / "archive"), output=str(folder / "run"), **settings
    )


def by_path(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by path, without `run_id` and `scored_at`; no path appears twice."""
    table = without_session(ds.dataset(folder / "run" / "predictions").to_table())
    rows = {row["path"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows
    return rows


def check_record(folder: Path) -> None:
    """Check the record of a finished run: its counts and its list of files."""
    record = json.loads((folder / "run" / "run.json").read_text())
    counts = record["rows"]
    assert (folder / "run" / "_SUCCESS").exists()
    assert record["status"] == "done"
    counted = counts["scored"] + sum(counts["failed"].values()) + counts["skipped"]
    assert counts["indexed"] == counted == len(by_path(folder))
    parts = (folder / "run" / "predictions").rglob("*.parquet")
    assert sorted(record["files"]) == sorted(
        str(path.relative_to(folder / "run" / "predictions")) for path in parts
    )
