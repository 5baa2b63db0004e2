"""A job that asks for machines which are not there yet, as an autoscaler would bring them."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset
import pytest

from cnnjobs import synthetic
from tests.bundles import write_bundle
from tests.faults.processes import descendants, kill_all, title, wait_until

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]
NUM_IMAGES = 60


def test_scorers_begin_on_the_machine_that_comes_and_do_not_wait_for_those_that_do_not(
    tmp_path: Path,
) -> None:
    from ray.cluster_utils import Cluster

    synthetic.write_archive(tmp_path / "archive", num_images=NUM_IMAGES, num_broken=0)
    write_bundle(tmp_path / "bundle", "covid-gap")
    words = [tmp_path / "bundle", tmp_path / "archive", "-o", tmp_path / "run"]
    wanted = ["--actors", "8", "--cpus-per-actor", "1", "--batch-size", "4"]
    before = set(descendants(os.getpid()))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        job = subprocess.Popen(
            [*CNNJOBS, "predict", *words, *wanted],
            env={**os.environ, "RAY_ADDRESS": cluster.address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        head = cluster.head_node.all_processes["raylet"][0].process.pid
        wait_until(lambda: job.poll() is not None or _has_a_plan(head))
        assert job.poll() is None
        cluster.add_node(num_cpus=1)
        _, complaint = job.communicate(timeout=200)
    finally:
        cluster.shutdown()
        kill_all(set(descendants(os.getpid())) - before)

    assert job.returncode == 0, complaint
    assert "waiting for a machine: no machine of this Ray has cores for jobs" in complaint
    rows = pyarrow.dataset.dataset(tmp_path / "run" / "predictions").to_table()
    assert rows.num_rows == len(set(rows["path"].to_pylist())) == NUM_IMAGES
    assert rows["error"].null_count == NUM_IMAGES


def _has_a_plan(raylet: int) -> bool:
    return any("run_pipeline" in title(pid) for pid in descendants(raylet))
