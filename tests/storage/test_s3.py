"""The whole way on a real S3 server: images, manifest, run and predictions all in a bucket."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.storage import filesystem


def cnnjobs(ray_address: str, *words: str) -> Any:
    """The JSON that a command prints that runs in a process of its own.

    Ray's workers have no keys to S3: they run for all tests, and had started before the server.
    """
    ended = subprocess.run(
        [sys.executable, "-c", "from cnnjobs.cli import main; main()", *words, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": ray_address},
        check=False,
        timeout=580,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
def test_images_run_and_predictions_may_all_be_in_a_bucket(
    s3: str, archive: Path, ray_address: str
) -> None:
    for path in archive.glob("*/*"):
        filesystem.write_bytes(f"{s3}/xrays/{path.parent.name}/{path.name}", path.read_bytes())

    all_to_train = ("--validation", "0")
    run = partial(cnnjobs, ray_address)
    indexed = run("index", f"{s3}/xrays", "-o", f"{s3}/manifest.parquet", *all_to_train)
    small = ("--model", "digits", "--epochs", "1")
    trained = run("train", indexed["manifest"], "-o", f"{s3}/run", *small)
    predicted = run("predict", trained["output"], f"{s3}/xrays", "-o", f"{s3}/scored")

    assert indexed["num_images"] == 45
    assert len(indexed["unreadable"]) == 5
    assert trained["num_failed"] == 0
    (epoch,) = trained["history"]
    assert "loss" in epoch
    assert "val_loss" not in epoch
    assert predicted["scored"] == 40
    assert sum(predicted["failed"].values()) == 5
    record = json.loads(filesystem.read_bytes(f"{s3}/scored/run.json"))
    table = pa.concat_tables(
        pq.read_table(pa.BufferReader(filesystem.read_bytes(f"{s3}/scored/predictions/{name}")))
        for name in record["files"]
    )
    wanted = [f"{s3}/xrays/{path.parent.name}/{path.name}" for path in archive.glob("*/*")]
    assert sorted(table["path"].to_pylist()) == sorted(wanted)
    assert filesystem.exists(f"{s3}/scored/_SUCCESS")
    # keys stand in no file of a run
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for file in filesystem.list_files(f"{s3}/scored"):
        assert secret not in filesystem.read_bytes(file.path)


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("source", "environment"),
    [
        (f"s3://AKIAEXAMPLE:{SECRET}@bucket/a", {}),
        (f"https://bucket.s3.amazonaws.com/a?X-Amz-Signature={SECRET}", {}),
        ("{s3}/a", {"AWS_ENDPOINT_URL": f"http://AKIAEXAMPLE:{SECRET}@127.0.0.1:1"}),
        ("{s3}/a", {"AWS_SECRET_ACCESS_KEY": SECRET}),
        ("{s3}/a", {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}),
    ],
)
def test_a_secret_is_in_nothing_that_is_printed_or_written(
    source: str, environment: dict[str, str], s3: str, tmp_path: Path
) -> None:
    # all that is printed without --debug, and a traceback
    words = ["index", source.format(s3=s3), "-o", str(tmp_path / "m.parquet"), "--debug"]
    ended = subprocess.run(
        [sys.executable, "-c", "from cnnjobs.cli import main; main()", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=580,
    )
    assert ended.returncode != 0
    told = ended.stdout + ended.stderr
    assert told
    assert SECRET not in told
    assert "AKIAEXAMPLE" not in told
    assert not list(tmp_path.iterdir())
