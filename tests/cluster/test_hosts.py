"""A cluster of separate hosts, each with its own address."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.dataset
import pytest

from cnnjobs.cli import command_line
from cnnjobs.config import as_dict
from cnnjobs.models import bundle
from tests.support import archives
from tests.support.hosts import RAY, Host, hosts, ray_on, why_not
from tests.support.paths import ROOT
from tests.support.processes import scorers, training_workers, wait_until
from tests.support.trainings import epochs_done, train_here
from tests.training import killed

NUM_IMAGES, NUM_BROKEN = 720, 9
BATCH_SIZE, ROWS_PER_FILE = 4, 16
TOKEN = "a-token-of-the-tests-that-is-long-enough"

#: How soon Ray gives up a host that does not answer; half a minute by default.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


class Worker(NamedTuple):
    """A host, and the process below which its Ray runs."""

    host: Host
    pid: int


#: A model that does not amplify the rounding of a sum, as the steps of ReLU and max pooling do.
SMOOTH = """
from keras import Input, Sequential, layers

def smooth(num_labels):
    return Sequential([
        Input((28, 28, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="tanh"),
        layers.AveragePooling2D(4),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ])
"""


@dataclass(frozen=True)
class Machines:
    """A head without cores, workers of a core each, and a user's laptop."""

    head: Host
    laptop: Host
    workers: Sequence[Worker]

    @property
    def address(self) -> str:
        return f"http://{self.head.address}:8265"

    def submit(self, log: Path, *words: str) -> "subprocess.Popen[bytes]":
        """Start `python -m cnnjobs` on the cluster from the laptop."""
        job = [str(RAY), "job", "submit", "--address", self.address, "--"]
        return self.laptop.start([*job, "python", "-m", "cnnjobs", *words], log)


@contextmanager
def cluster(num_workers: int) -> Iterator[Machines]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **QUICK,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        # importable even if the tests run from a checkout that is not installed
        "PYTHONPATH": str(ROOT),
    }
    small = ["--object-store-memory", "100000000"]
    with ExitStack() as stack:
        head, laptop, *workers = stack.enter_context(hosts(2 + num_workers, environment))
        board = ["--dashboard-host", head.address]
        stack.enter_context(ray_on(head, "--head", "--num-cpus", "0", *small, *board))
        joins = ["--address", f"{head.address}:6379", "--num-cpus", "1", *small]
        below = [stack.enter_context(ray_on(worker, *joins)).pid for worker in workers]
        yield Machines(head, laptop, [Worker(*each) for each in zip(workers, below, strict=True)])


@pytest.mark.slow
def test_a_job_survives_a_host_whose_link_is_cut_and_writes_every_row_once(tmp_path: Path) -> None:
    archives.write_archive(tmp_path / "archive", NUM_IMAGES, num_broken=NUM_BROKEN)
    archives.write_bundle(str(tmp_path / "bundle"))
    output = tmp_path / "run"
    sizes = ["--batch-size", str(BATCH_SIZE), "--rows-per-file", str(ROWS_PER_FILE)]
    line = [f"{tmp_path}/bundle", f"{tmp_path}/archive", "-o", str(output), *sizes]
    log = tmp_path / "submit.txt"

    with cluster(2) as machines:
        job = machines.submit(log, "predict", *line)
        wait_until(lambda: job.poll() is not None or _num_parts(output) >= 4)
        assert job.poll() is None, log.read_text()
        lost = machines.workers[-1]
        assert len(scorers(lost.pid)) == 1
        lost.host.cut()
        num_before = _num_parts(output)

        assert job.wait() == 0, log.read_text()
        assert _lost_hosts(machines) == [lost.host.address]
        refused = machines.laptop.run(
            str(RAY), "job", "list", "--address", machines.address, RAY_AUTH_TOKEN="another-token"
        )

    assert num_before < NUM_IMAGES / ROWS_PER_FILE
    record = json.loads((output / "run.json").read_text())
    counts = record["rows"]
    assert record["status"] == "done"
    assert (counts["indexed"], counts["skipped"]) == (NUM_IMAGES, 0)
    assert counts["scored"] == NUM_IMAGES - NUM_BROKEN
    rows = pyarrow.dataset.dataset(output / "predictions").to_table()
    named = [str(path) for path in sorted((tmp_path / "archive").rglob("*.png"))]
    assert sorted(rows["path"].to_pylist()) == named
    assert rows["error"].null_count == NUM_IMAGES - NUM_BROKEN
    assert refused.returncode != 0
    assert "AuthenticationError" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_hosts_train_as_one_process_also_when_the_link_of_one_is_cut(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SMOOTH)
    data = killed.write_data(tmp_path, num_images=1600)
    settings = {"model": f"{tmp_path}/own.py:smooth", "epochs": 3, "optimizer": "sgd", "seed": 3}
    config = killed.config_of(data, tmp_path / "alone", **settings, learning_rate=1e-2)
    history = train_here(config)
    assert history[-1]["loss"] < history[0]["loss"]

    def on_three_hosts(machines: Machines, output: Path, log: Path) -> "subprocess.Popen[bytes]":
        settings = as_dict(dataclasses.replace(config, workers=3, output=str(output)))
        return machines.submit(log, "train", *command_line.words("train", settings))

    # one of four is not needed until another is lost
    with cluster(4) as machines:
        log = tmp_path / "whole.txt"
        assert on_three_hosts(machines, tmp_path / "whole", log).wait() == 0, log.read_text()
        log, run = tmp_path / "cut.txt", tmp_path / "cut"
        job = on_three_hosts(machines, run, log)
        wait_until(lambda: job.poll() is not None or epochs_done(run) >= 1, seconds=900)
        lost = next(each for each in machines.workers if training_workers(each.pid))
        lost.host.cut()
        assert epochs_done(run) < 3
        assert job.wait() == 0, log.read_text()
        assert _lost_hosts(machines) == [lost.host.address]

    weights = {
        name: bundle.load_model(bundle.read(str(tmp_path / name))).get_weights()
        for name in ("alone", "whole", "cut")
    }
    for alone, whole, cut in zip(*weights.values(), strict=True):
        np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(cut, whole)


def _num_parts(output: Path) -> int:
    return len(list(output.glob("predictions/part-*.parquet")))


def _lost_hosts(machines: Machines) -> list[str]:
    """The addresses of hosts that Ray considers dead."""
    words = ["list", "nodes", "--address", machines.address, "--format", "json"]
    listed = machines.laptop.run(str(RAY), *words)
    assert listed.returncode == 0, listed.stderr
    return [node["node_ip"] for node in json.loads(listed.stdout) if node["state"] == "DEAD"]
