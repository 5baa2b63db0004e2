"""A head of `cnnjobs cluster start` as a user has one, with a home folder of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnnjobs.cluster import machine, node_registry
from tests.support.paths import ROOT

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]

#: Connects to Ray as a job does, and prints its cores.
_CONNECT = """
import sys
from cnnjobs.cluster import presence
presence.before_ray(sys.argv[1])
from cnnjobs.cluster import resources, session
with session.connected(sys.argv[1]):
    print(resources.num_cpus())
"""

_OTHERS = (
    *("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"),
    *node_registry.LOOPBACK,
)


@dataclass(frozen=True)
class Head:
    """A running head: where it answers, and the environment of who owns its token."""

    address: str
    dashboard: str
    token: str
    environment: dict[str, str]
    start_words: tuple[str, ...]

    def start_again(self) -> None:
        """Start it as before, after all of its processes have ended."""
        started = self.cnnjobs(*self.start_words)
        assert started.returncode == 0, started.stderr

    def cnnjobs(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return cnnjobs(*words, **{**self.environment, **more})

    def start_cnnjobs(
        self, *words: str, stdin: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*CNNJOBS, *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment_of_a_user(**self.environment),
        )


@contextmanager
def running_head(folder: Path, **environment: str) -> Iterator[Head]:
    """A head with two cores on free ports; its home, and so its token, is in `folder`."""
    port, dashboard_port = machine.free_ports(2)
    # Ray's metrics anew each second, not each ten
    more = {**environment, "HOME": str(folder), "RAY_metrics_report_interval_ms": "1000"}
    # sockets have short names only
    temp = Path(f"/tmp/ray-{os.getpid()}-{port}")
    words = (
        *("cluster", "start", "--head", "--json", "--num-cpus", "2"),
        *("--port", str(port), "--dashboard-port", str(dashboard_port)),
        *("--temp-dir", str(temp), "--object-store-gib", "0.2"),
    )
    try:
        started = cnnjobs(*words, **more)
        assert started.returncode == 0, started.stderr
        facts = json.loads(started.stdout)
        token = (folder / ".ray" / "auth_token").read_text()
        yield Head(facts["address"], facts["dashboard"], token, more, words)
    finally:
        cnnjobs("cluster", "stop", **more)
        shutil.rmtree(temp, ignore_errors=True)


def cnnjobs(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line to its end."""
    return subprocess.run(
        [*CNNJOBS, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment_of_a_user(**environment),
        check=False,
        timeout=580,
    )


def connect(address: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Connect to a Ray as a job does; its cores are printed."""
    return python(_CONNECT, address, **environment)


def python(code: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code to its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env=environment_of_a_user(**environment),
        check=False,
    )


def environment_of_a_user(**more: str) -> dict[str, str]:
    """The environment without what Ray's own tests have left in it, and `more`."""
    clean = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    return {**clean, "COLUMNS": "80", "PYTHONPATH": str(ROOT), **more}
