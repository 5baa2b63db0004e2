"""Images that cannot be read any more, whichever it is: the job stops, and continues later."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cnnjobs.errors import SourceError
from cnnjobs.inference.predict import predict
from tests.inference.test_predict_s3 import bundle, files, local_rows, put, rows  # noqa: F401
from tests.support.disturbed_runs import (
    CNNJOBS,
    NUM_IMAGES,
    check_complete,
    moving_away,
    read_record,
    read_rows,
    resume,
    run_config,
)
from tests.support.fault_proxy import FaultProxy, Rule


def test_a_source_that_moves_away_stops_the_job_which_continues_once_it_is_back(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with moving_away(inputs, output, after=3) as move, pytest.raises(SourceError) as stopped:
        predict(run_config(inputs, output), move)

    kept = read_rows(output, in_parts=True)
    assert 0 < kept.num_rows < NUM_IMAGES - 50
    assert not any("missing" in error for error in kept["error"].drop_null().to_pylist())
    record = read_record(output)
    assert (record["status"], (output / "_SUCCESS").exists()) == ("failed", False)
    message = str(stopped.value)
    assert message.startswith("50 images in a row failed, the last: ")
    assert message.endswith(
        f"{kept.num_rows} of {NUM_IMAGES} rows are in {output}; restore access to the images, then "
        "continue with --resume (if they are to stay as errors, with --max-errors 100% as well)."
    )
    assert resume(inputs, output).skipped == kept.num_rows
    check_complete(output, undisturbed, in_order=False)


@pytest.mark.slow
def test_keys_revoked_for_some_folders_stop_the_job_and_become_no_rows(
    s3: str,
    bundle: str,  # noqa: F811
    files: Path,  # noqa: F811
    local_rows: list[dict[str, Any]],  # noqa: F811
    faults: FaultProxy,
    tmp_path: Path,
    ray_address: str,
) -> None:
    put(files, f"{s3}/xrays")
    faults.rules = [Rule("unknown key", "GET .*/xrays/opacity/")]
    output = tmp_path / "run"
    words = ["predict", bundle, f"{s3}/xrays", "-o", output, "--s3-endpoint", faults.endpoint]
    words += ["--address", ray_address]

    stopped = _run(*words)

    assert stopped.returncode == 1
    (line,) = stopped.stderr.splitlines()
    assert line.startswith("error: 20 of the last ")
    assert "(unreadable: S3 does not know this access key); " in line
    kept = read_rows(output, in_parts=True)
    assert kept.num_rows == sum("/normal/" in path for path in kept["path"].to_pylist()) > 20

    faults.rules = []
    continued = _run(*words, "--resume")

    assert continued.returncode == 0, continued.stderr
    assert rows(str(output), f"{s3}/xrays") == local_rows


@pytest.mark.slow
def test_workers_without_the_drivers_keys_are_one_line(
    s3: str,
    bundle: str,  # noqa: F811
    files: Path,  # noqa: F811
    s3_environment: Any,
    tmp_path: Path,
) -> None:
    from ray.cluster_utils import Cluster

    put(files, f"{s3}/xrays")
    key = os.environ["AWS_ACCESS_KEY_ID"]
    s3_environment(AWS_ACCESS_KEY_ID="unknown")
    machine = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    try:
        s3_environment(AWS_ACCESS_KEY_ID=key)
        stopped = _run(
            *("predict", bundle, f"{s3}/xrays", "-o", tmp_path / "run"),
            *("--address", cluster.address),
        )
    finally:
        cluster.shutdown()

    assert stopped.returncode == 1
    (line,) = [line for line in stopped.stderr.splitlines() if "(raylet)" not in line]
    assert line.startswith("error: the scoring process on ")
    assert f" cannot read the images, though this one can: {s3}/xrays/" in line


def _run(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CNNJOBS, *map(str, words), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
