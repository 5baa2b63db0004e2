"""Scoring from and to a real S3 server, also while network and server keep failing."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.inference.predict import predict
from cnnjobs.storage import filesystem
from tests.storage.test_s3 import cnnjobs
from tests.support.bundles import write_bundle
from tests.support.fault_proxy import FaultProxy, Rule
from tests.support.prediction_tables import without_session

#: Share of requests; together more than on any bad night.
RATES = {"slow down": 0.1, "internal error": 0.05, "reset": 0.05, "cut": 0.05, "trickle": 0.02}

NUM_IMAGES, NUM_BROKEN = 60, 5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gap", "covid-gap").uri


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "archive"
    synthetic.write_archive(folder, num_images=NUM_IMAGES, num_broken=NUM_BROKEN, seed=4)
    return folder


@pytest.fixture(scope="module")
def local_rows(
    ray_session: None, bundle: str, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The rows of a run on the local disk."""
    output = str(tmp_path_factory.mktemp("local") / "run")
    predict(PredictConfig(bundle=bundle, data=str(files), output=output))
    return rows(output, str(files))


def put(files: Path, prefix: str) -> None:
    for path in files.glob("*/*"):
        filesystem.write_bytes(f"{prefix}/{path.parent.name}/{path.name}", path.read_bytes())


def rows(output: str, source: str) -> list[dict[str, Any]]:
    """The rows that the record lists, without its session and the prefix of the source."""
    record = json.loads(filesystem.read_bytes(f"{output}/run.json"))
    tables = [
        pq.read_table(pa.BufferReader(filesystem.read_bytes(f"{output}/predictions/{name}")))
        for name in record["files"]
    ]
    table = without_session(pa.concat_tables(tables)).to_pylist()
    return [{**row, "path": row["path"].removeprefix(f"{source}/")} for row in table]


def test_a_run_on_s3_gives_the_rows_of_a_local_run(
    s3: str, bundle: str, files: Path, local_rows: list[dict[str, Any]], ray_address: str
) -> None:
    put(files, f"{s3}/xrays")

    summary = cnnjobs(ray_address, "predict", bundle, f"{s3}/xrays", "-o", f"{s3}/scored")

    assert summary["scored"] == NUM_IMAGES
    assert rows(f"{s3}/scored", f"{s3}/xrays") == local_rows
    assert summary["retries"] == 0


@pytest.mark.slow
def test_faults_neither_lose_nor_change_a_row_and_retries_are_counted(
    s3: str,
    bundle: str,
    files: Path,
    local_rows: list[dict[str, Any]],
    faults: FaultProxy,
    ray_address: str,
) -> None:
    put(files, f"{s3}/xrays")
    faults.rates = RATES

    words = ("predict", bundle, f"{s3}/xrays", "-o", f"{s3}/scored")
    summary = cnnjobs(ray_address, *words, "--s3-endpoint", faults.endpoint)

    faults.rates = {}
    record = json.loads(filesystem.read_bytes(f"{s3}/scored/run.json"))
    assert sum(faults.injected.values()) > 10
    assert record["summary"]["retries"] == summary["retries"] > 0
    assert record["rows"]["scored"] == NUM_IMAGES
    assert sum(record["rows"]["failed"].values()) == NUM_BROKEN
    assert rows(f"{s3}/scored", f"{s3}/xrays") == local_rows


def test_one_unreadable_object_is_one_row_with_an_error(
    s3: str, bundle: str, files: Path, tmp_path: Path, faults: FaultProxy, ray_address: str
) -> None:
    put(files, f"{s3}/xrays")
    denied = sorted(path.name for path in files.glob("normal/*"))[0]
    faults.rules = [Rule("denied", f"GET .*{denied}")]

    words = ("predict", bundle, f"{s3}/xrays", "-o", f"{tmp_path}/run")
    summary = cnnjobs(ray_address, *words, "--s3-endpoint", faults.endpoint)

    faults.rules = []
    assert summary["failed"]["permission"] == 1
    errors = {row["path"]: row["error"] for row in rows(f"{tmp_path}/run", f"{s3}/xrays")}
    assert len(errors) == NUM_IMAGES + NUM_BROKEN
    assert errors[f"normal/{denied}"] == "permission: reading the file is not permitted"
