"""What Ray spills to disk during a job is recorded for that job only."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cnnjobs.cluster import spilling
from tests.support.paths import ROOT

#: Two jobs on one Ray with an object store of 80 MB, into which the first puts 120 MB.
_JOBS = """
import sys, time
import ray
from cnnjobs.cluster import session, spilling
from cnnjobs.storage import run_dir
from cnnjobs.cli.runner import warn_of_spilling

def wait_for(condition):
    until = time.monotonic() + 300
    while not condition(spilling.totals(spilling.targets(ray.nodes()))):
        assert time.monotonic() < until
        time.sleep(0.1)

def job(folder, num_objects):
    run = run_dir.start(folder, "predict", {}, spilled_bytes=spilling.reported)
    with run.writing():
        with session.connected():
            objects = [ray.put(bytes(20_000_000)) for _ in range(num_objects)]
            if objects:
                wait_for(lambda totals: any(totals.values()))
        run.finish()
    warn_of_spilling()

with session.connected("local"):
    # a node that does not answer before a job is not counted after it
    wait_for(bool)
    job(sys.argv[1], 6)
    job(sys.argv[2], 0)
"""


@pytest.mark.slow
def test_a_job_records_what_ray_spilled_during_it_and_not_during_another(tmp_path: Path) -> None:
    # a busy node may not answer in time: the job then does not know, and another is run
    for number in range(3):
        folders = [tmp_path / f"{number} {name}" for name in ("spills", "does not spill")]
        done = subprocess.run(
            [sys.executable, "-c", _JOBS, *map(str, folders)],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "80000000",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=580,
        )
        assert done.returncode == 0, done.stderr
        first, second = (json.loads((folder / "run.json").read_text()) for folder in folders)
        if None not in (first["spilled_bytes"], second["spilled_bytes"]):
            break
    ((machine, num_bytes),) = first["spilled_bytes"].items()
    assert 40_000_000 <= num_bytes <= 120_000_000
    assert second["spilled_bytes"] == {}
    assert done.stderr.splitlines() == [
        "warning: Ray's object memory was full and spilled to disk, "
        f"{num_bytes / 1e6:.0f} MB on {machine}; see Memory in docs/clusters.md."
    ]


class _Metrics(BaseHTTPRequestHandler):
    """Answers like a node's metrics agent, unless its server is silent."""

    def do_GET(self) -> None:
        if self.server.is_silent:
            self.send_error(503)
            return
        self.server.total += 3e6
        lines = [
            'ray_spill_manager_objects_bytes{State="Restored",WorkerId=""} 7.0',
            f'ray_spill_manager_objects_bytes{{State="Spilled"}} {self.server.total}',
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write("\n".join(lines).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """The metrics of a node that has spilled another 3 MB at every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as started:
        started.total, started.is_silent = 0.0, False
        threading.Thread(target=started.serve_forever, args=[0.05], daemon=True).start()
        yield started
        started.shutdown()


@pytest.fixture
def node(server: ThreadingHTTPServer) -> dict[str, Any]:
    """That node, as in `ray.nodes()`."""
    return {
        "Alive": True,
        "NodeManagerAddress": "127.0.0.1",
        "MetricsExportPort": server.server_port,
    }


def test_bytes_spilled_before_a_job_are_not_counted(node: dict[str, Any]) -> None:
    with spilling.watched(lambda: [node], is_new=False):
        assert spilling.reported() is None
    assert spilling.reported() == {"127.0.0.1": 3_000_000}
    spilling.forget()
    assert spilling.reported() is None


def test_a_node_that_joins_during_a_job_is_counted(node: dict[str, Any]) -> None:
    nodes: list[dict[str, Any]] = []
    with spilling.watched(lambda: nodes, is_new=False):
        nodes.append(node)
    assert spilling.reported() == {"127.0.0.1": 3_000_000}


def test_a_node_that_did_not_answer_before_a_job_is_not_counted_after_it(
    node: dict[str, Any], server: ThreadingHTTPServer
) -> None:
    server.is_silent = True
    with spilling.watched(lambda: [node], is_new=False):
        server.is_silent = False
    assert spilling.reported() is None


def test_nothing_is_reported_for_nodes_that_do_not_answer_or_are_gone(node: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        silent = {**node, "MetricsExportPort": taken.getsockname()[1]}
        with spilling.watched(lambda: [silent, {**node, "Alive": False}], is_new=True):
            pass
    assert spilling.reported() is None
