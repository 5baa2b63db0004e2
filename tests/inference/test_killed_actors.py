"""Actors and machines that die while they score: the run ends with the rows of a quiet one."""

import gc
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.cluster.resources import Request
from cnnjobs.data.sources import open_data
from cnnjobs.errors import CnnjobsError
from cnnjobs.inference import backends
from cnnjobs.inference.predict import predict
from cnnjobs.inference.predictor import Scoring
from cnnjobs.inference.ray_pipeline import RayBackend
from cnnjobs.models import bundle
from tests.support.disturbed_runs import (
    BATCH_SIZE,
    NUM_IMAGES,
    check_complete,
    count_parts,
    read_record,
    read_rows,
    resume,
    run_config,
    scorers_killed,
    start_job,
    wait_for_parts,
)
from tests.support.processes import (
    descendants,
    kill,
    kill_all,
    scorers,
    wait_until,
)

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)


def test_if_one_of_two_actors_is_killed_both_are_replaced(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    before: list[int] = []
    after: list[int] = []

    def kill_one(step: str, done: int, total: int | None, note: str = "") -> None:
        now = scorers(os.getpid())
        if not before and count_parts(output) >= 2:
            before.extend(now)
            kill(before[0])
        elif before and not after and set(now) - set(before):
            # the next plan has begun: there are two cores, one for each of its actors
            wait_until(lambda: len(set(scorers(os.getpid())) - set(before)) == 2)
            after.extend(scorers(os.getpid()))

    config = run_config(inputs, output, actors=2, cpus_per_actor=1)
    # by chance it could run at once, or after minutes
    gc.disable()
    try:
        summary = predict(config, kill_one)
    finally:
        gc.enable()

    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    assert summary.skipped == 0
    check_complete(output, undisturbed)


@pytest.mark.slow
def test_actors_that_keep_dying_end_the_job_with_one_line_that_names_a_file(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with scorers_killed(output, after=2), pytest.raises(CnnjobsError) as failed:
        predict(run_config(inputs, output))

    num_kept = read_rows(output).num_rows
    assert str(failed.value) == (
        "the scoring process died 3 times in a row before it had scored "
        f"{undisturbed['path'][num_kept]}: memory may be short, or that file may be the cause; see "
        "Ray's messages, then continue with --resume."
    )
    assert resume(inputs, output).skipped == num_kept
    check_complete(output, undisturbed)


def test_a_model_that_no_actor_can_load_ends_the_job_with_one_line_that_says_so(
    ray_session: None, inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs / "bundle", tmp_path / "bundle")
    opened = bundle.read(str(tmp_path / "bundle"))
    # as on a machine that cannot see the folder
    shutil.rmtree(tmp_path / "bundle")
    rows = open_data(str(inputs / "archive"), for_training=False).table
    scoring = Scoring(bundles=[opened], engine="openvino", batch_size=BATCH_SIZE, run_id="")

    with pytest.raises(CnnjobsError) as failed:
        list(backends.score(RayBackend(Request()), rows, scoring))

    assert str(failed.value) == (
        f"no scoring process could start (3 attempts, at {rows['path'][0]}): "
        f"{opened.uri} has no OpenVINO export (it was never made); use --engine keras or auto."
    )


@pytest.mark.slow
def test_a_killed_actor_prints_one_line_of_rays_and_no_stack_trace(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with start_job(inputs, output, "--json", "--quiet") as driver:
        wait_for_parts(driver, output, 2)
        kill(scorers(driver.pid)[0])
        result, errors = driver.communicate()

    assert driver.returncode == 0
    assert json.loads(result)["indexed"] == NUM_IMAGES
    assert "Traceback" not in errors
    assert all("(raylet)" in line for line in errors.splitlines())
    check_complete(output, undisturbed)


@pytest.mark.slow
def test_a_job_survives_a_killed_node(undisturbed: pa.Table, inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with _two_nodes() as (address, raylet), start_job(inputs, output, address=address) as driver:
        wait_for_parts(driver, output, 2)
        assert len(scorers(raylet)) == 1
        kill(raylet)
        wait_until(lambda: driver.poll() is not None)

    assert driver.returncode == 0
    assert read_record(output)["rows"]["skipped"] == 0
    check_complete(output, undisturbed)


@contextmanager
def _two_nodes() -> Iterator[tuple[str, int]]:
    """A cluster of two nodes with one core each: its address and the second one's raylet."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    before = set(descendants(os.getpid()))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick},
    )
    try:
        second = cluster.add_node(num_cpus=1)
        yield cluster.address, second.all_processes["raylet"][0].process.pid
    finally:
        cluster.shutdown()
        kill_all(set(descendants(os.getpid())) - before)
