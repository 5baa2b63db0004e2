"""A cluster with and without GPUs: all cores decode, machines with GPUs score.

There is no real GPU here: Ray is configured with one, and OpenVINO scores instead of Keras.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.inference import predictions
from cnnjobs.inference.predict import predict
from tests.support.prediction_tables import without_session
from tests.support.processes import descendants, kill_all, title

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of one machine without and one with a GPU."""
    from ray.cluster_utils import Cluster

    before = set(descendants(os.getpid()))
    machines = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        machines.add_node(num_cpus=1, num_gpus=1)
        yield machines.address
    finally:
        machines.shutdown()
        kill_all(set(descendants(os.getpid())) - before)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_machines_without_a_gpu_decode_for_those_with_one(
    untrained: Path, archive: Path, tmp_path: Path, cluster: str
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    predict(PredictConfig(bundle=str(untrained), data=str(archive), output=str(alone)))
    words = ["predict", str(untrained), str(archive), "-o", str(shared), "--batch-size", "8"]
    job = subprocess.Popen(
        [*CNNJOBS, *words, "--engine", "openvino", "--address", cluster, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    seen: set[str] = set()
    while job.poll() is None:
        seen |= {title(each) for each in descendants(os.getpid())}
        time.sleep(0.2)
    summary = json.loads(job.communicate()[0])

    assert job.returncode == 0
    # each machine has a core and therefore a decoder; the only GPU has the predictor
    assert any("MapBatches(BlockDecoder)" in each for each in seen)
    assert (summary["indexed"], summary["scored"]) == (45, 40)
    ours, theirs = _rows(shared), _rows(alone)
    # with another number of threads, OpenVINO adds in another order
    off = ours["probability"].to_numpy() - theirs["probability"].to_numpy()
    assert np.nanmax(np.abs(off)) <= 1e-6
    ours, theirs = (without_session(rows).drop_columns("probability") for rows in (ours, theirs))
    assert ours.equals(theirs)


def _rows(output: Path) -> pa.Table:
    return predictions.read_whole(str(output), predictions.files(str(output)))
