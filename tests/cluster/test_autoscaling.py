"""A job on a cluster without workers: Ray's autoscaler adds one and removes it again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset
import pytest

from cnnjobs.cluster import machine, node_registry
from cnnjobs.data import synthetic
from tests.support.bundles import write_bundle
from tests.support.processes import descendants, kill_all, title, wait_until

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]
RAY = Path(sys.executable).with_name("ray")
NUM_IMAGES = 60


@pytest.fixture
def head() -> Iterator[tuple[str, int]]:
    """The address of a head without cores, and the parent process of its whole cluster.

    The provider starts "machines" on this one ("Testing autoscaling locally" in Ray's docs), but
    every decision is the real autoscaler's. `ray.cluster_utils.AutoscalingCluster` would do the
    same, but first stops every Ray on this machine, and reads a file missing from the wheel.
    """
    # the path of a socket has to be short
    port, client_port, agent_port = machine.free_ports(3)
    folder = Path(f"/tmp/ray-{os.getpid()}-{port}")
    folder.mkdir()
    log, config = folder / "start.txt", folder / "cluster.json"
    config.write_text(json.dumps(_config(f"127.0.0.1:{port}")))
    words = ["--head", "--block", "--num-cpus", "0", "--port", str(port), "--disable-usage-stats"]
    words += ["--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
    words += ["--ray-client-server-port", str(client_port)]
    words += ["--dashboard-agent-listen-port", str(agent_port)]
    words += ["--object-store-memory", "100000000", "--temp-dir", str(folder / "ray")]
    environment = {
        **{"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
        # else `ray start` refuses to add machines
        **dict.fromkeys(node_registry.LOOPBACK, "1"),
    }
    with log.open("w") as written:
        process = subprocess.Popen(
            [RAY, "start", *words, "--autoscaling-config", config],
            env={**os.environ, **environment},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Ray runtime started" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield f"127.0.0.1:{port}", process.pid
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        kill_all(below)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_machine_is_added_for_a_job_scores_every_image_once_and_is_removed_when_idle(
    head: tuple[str, int], tmp_path: Path
) -> None:
    address, cluster = head
    synthetic.write_archive(tmp_path / "archive", num_images=NUM_IMAGES, num_broken=0)
    write_bundle(tmp_path / "bundle", "covid-gap")
    words = [tmp_path / "bundle", tmp_path / "archive", "-o", tmp_path / "run"]
    # one of the eight requested machines comes, and the job does not wait for the others
    actors = ["--actors", "8", "--cpus-per-actor", "1", "--batch-size", "4"]
    assert len(_raylets(cluster)) == 1

    job = subprocess.Popen(
        [*CNNJOBS, "predict", *words, *actors],
        env={**os.environ, "RAY_ADDRESS": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: job.poll() is not None or len(_raylets(cluster)) == 2)
        _, errors = job.communicate()
    finally:
        job.kill()

    assert job.returncode == 0, errors
    assert "waiting for a machine: no machine of this Ray cluster has cores for jobs" in errors
    rows = pyarrow.dataset.dataset(tmp_path / "run" / "predictions").to_table()
    assert rows.num_rows == len(set(rows["path"].to_pylist())) == NUM_IMAGES
    assert rows["error"].null_count == NUM_IMAGES
    wait_until(lambda: len(_raylets(cluster)) == 1)


def _config(address: str) -> dict[str, object]:
    """What `ray up` would pass to the autoscaler: at most one machine, with one core."""
    provider = ("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check")
    commands = "initialization setup head_setup worker_setup head_start_ray worker_start_ray"
    return {
        "cluster_name": "tests",
        "max_workers": 1,
        # six seconds
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            **dict.fromkeys(provider, True),
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            # the provider knows the head by this name
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 1,
            },
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **{f"{name}_commands": [] for name in commands.split()},
    }


def _raylets(cluster: int) -> list[int]:
    """The raylet processes of a cluster, one per machine including the head."""
    return [pid for pid in descendants(cluster) if "raylet/raylet " in title(pid)]
