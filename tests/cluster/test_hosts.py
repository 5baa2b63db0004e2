"""A cluster of separate hosts, each with its own address."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset
import pytest

from tests.support import archives
from tests.support.hosts import RAY, Host, hosts, ray_on, why_not
from tests.support.paths import ROOT
from tests.support.processes import scorers, wait_until

NUM_IMAGES, NUM_BROKEN = 720, 9
BATCH_SIZE, ROWS_PER_FILE = 4, 16
SUBMIT = [str(RAY), "job", "submit", "--address"]
TOKEN = "a-token-of-the-tests-that-is-long-enough"

#: How soon Ray gives up a host that does not answer; half a minute by default.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True)
class Machines:
    """A head without cores, a worker that stays, one that will be lost, and a user's laptop."""

    head: Host
    lost: Host
    laptop: Host
    lost_pid: int

    @property
    def address(self) -> str:
        return f"http://{self.head.address}:8265"


@pytest.fixture
def machines() -> Iterator[Machines]:
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
        head, kept, lost, laptop = stack.enter_context(hosts(4, environment))
        board = ["--dashboard-host", head.address]
        stack.enter_context(ray_on(head, "--head", "--num-cpus", "0", *small, *board))
        joins = ["--address", f"{head.address}:6379", "--num-cpus", "1", *small]
        stack.enter_context(ray_on(kept, *joins))
        below = stack.enter_context(ray_on(lost, *joins))
        yield Machines(head, lost, laptop, below.pid)


@pytest.mark.slow
def test_a_job_survives_a_host_whose_link_is_cut_and_writes_every_row_once(
    machines: Machines, tmp_path: Path
) -> None:
    archives.write_archive(tmp_path / "archive", NUM_IMAGES, num_broken=NUM_BROKEN)
    archives.write_bundle(str(tmp_path / "bundle"))
    output = tmp_path / "run"
    sizes = ["--batch-size", str(BATCH_SIZE), "--rows-per-file", str(ROWS_PER_FILE)]
    line = [f"{tmp_path}/bundle", f"{tmp_path}/archive", "-o", str(output), *sizes]
    log = tmp_path / "submit.txt"

    job = machines.laptop.start(
        [*SUBMIT, machines.address, "--", "python", "-m", "cnnjobs", "predict", *line], log
    )
    wait_until(lambda: job.poll() is not None or _num_parts(output) >= 4)
    assert job.poll() is None, log.read_text()
    assert len(scorers(machines.lost_pid)) == 1
    machines.lost.cut()
    num_before = _num_parts(output)

    assert job.wait() == 0, log.read_text()
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
    assert _lost_hosts(machines) == [machines.lost.address]

    refused = machines.laptop.run(
        str(RAY), "job", "list", "--address", machines.address, RAY_AUTH_TOKEN="another-token"
    )
    assert refused.returncode != 0
    assert "AuthenticationError" in refused.stderr


def _num_parts(output: Path) -> int:
    return len(list(output.glob("predictions/part-*.parquet")))


def _lost_hosts(machines: Machines) -> list[str]:
    """The addresses of hosts that Ray considers dead."""
    words = ["list", "nodes", "--address", machines.address, "--format", "json"]
    listed = machines.laptop.run(str(RAY), *words)
    assert listed.returncode == 0, listed.stderr
    return [node["node_ip"] for node in json.loads(listed.stdout) if node["state"] == "DEAD"]
