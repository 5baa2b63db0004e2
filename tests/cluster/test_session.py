"""Connecting to a running Ray, and to addresses at which none answers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.heads import connect

RAY = Path(sys.executable).with_name("ray")
CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray head started as a user would, next to any Ray of the tests."""
    port = "26379"
    address = f"127.0.0.1:{port}"
    started = subprocess.run(
        [
            RAY,
            "start",
            "--head",
            "--port",
            port,
            "--num-cpus",
            # one core: an actor that reserved it would leave none for decoding
            "1",
            "--include-dashboard",
            "false",
            "--disable-usage-stats",
            "--temp-dir",
            # the path of a socket has to be short
            f"/tmp/ray-{os.getpid()}",
            "--node-ip-address",
            "127.0.0.1",
            "--min-worker-port",
            "28000",
            "--max-worker-port",
            "28999",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stdout + started.stderr
    yield address
    _stop(port)


def _stop(port: str) -> None:
    """Kill the processes of that head only: `ray stop` would also end the Ray of the tests."""
    subprocess.run(["pkill", "--signal", "KILL", "-f", f"ray-{os.getpid()}"], check=False)


def cnnjobs(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CNNJOBS, *words], capture_output=True, text=True, check=False, timeout=580
    )


def test_a_job_uses_a_running_head_and_leaves_it_running(
    head: str, untrained: Path, archive: Path, tmp_path: Path
) -> None:
    words = ["predict", str(untrained), str(archive), "--json", "-o", str(tmp_path / "run")]

    done = cnnjobs(*words, "--address", head)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scored"] == 40
    assert connect(head, RAY_AUTH_MODE="disabled").stdout == "1\n"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:1",
            "no Ray cluster answers at 127.0.0.1:1 (Connection refused); start one with "
            "`ray start --head`, or leave out --address for a local Ray.",
        ),
        (
            "http://head:8265",
            "http://head:8265 is a cluster's job server: use cnnjobs submit --address "
            "http://head:8265 ...; a job that runs here needs HOST:PORT of the cluster's head.",
        ),
        (
            "ray://head:10001",
            "ray://head:10001 is a Ray Client address, through which jobs cannot run; on a machine "
            "of the cluster give HOST:PORT of its head, from outside use cnnjobs submit --address "
            "http://head:8265.",
        ),
    ],
    ids=["silent", "job server", "Ray Client"],
)
def test_an_unusable_address_is_a_one_line_error_and_leaves_no_output(
    untrained: Path, archive: Path, tmp_path: Path, address: str, message: str
) -> None:
    output = tmp_path / "run"
    refused = cnnjobs(
        "predict", str(untrained), str(archive), "-o", str(output), "--address", address
    )

    assert (refused.returncode, refused.stderr) == (2, f"error: {message}\n")
    assert not output.exists()


#: A plan of Ray Data that needs 3 s to stop.
_SLOW_TO_STOP = """
import sys, threading, time
import ray
from cnnjobs.cluster.session import connected

def stop():
    for _ in range(30):
        time.sleep(0.1)
        ray.put(1)
    print("stopped")

with connected("local"):
    threading.Thread(target=stop, name=sys.argv[1], daemon=True).start()
"""


@pytest.mark.parametrize(
    "name", [pytest.param("StreamingExecutor-1", marks=pytest.mark.slow), "iter_threaded"]
)
def test_ray_is_stopped_after_the_plans_that_use_it(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SLOW_TO_STOP, name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_ray_data_names_the_thread_of_a_plan_as_expected(ray_session: None) -> None:
    import ray

    def slowly(rows: Any) -> Any:
        time.sleep(0.3)
        return rows

    rows = iter(ray.data.range(40, override_num_blocks=40).map_batches(slowly).iter_rows())
    next(rows)
    names = [thread.name for thread in threading.enumerate()]
    rows.close()
    for expected in ("StreamingExecutor-", "iter_threaded"):
        assert any(name.startswith(expected) for name in names), names
