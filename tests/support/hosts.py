"""Machines of a cluster on one kernel: network namespaces with addresses of their own on a bridge.

They share the disk, so that a path means the same on all of them, and nothing else of the network.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants, kill_all, wait_until

RAY = Path(sys.executable).with_name("ray")


def why_not() -> str | None:
    """Say why there can be no such hosts here; None if there can."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "no ip command; install iproute2"
    name = f"cj{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@dataclass(frozen=True)
class Host:
    """A network namespace, its address, and what its processes find in their environment."""

    name: str
    address: str
    environment: Mapping[str, str]

    def start(self, words: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a process on the host, which writes to a file."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self._command(words), env=self.environment, stdout=file, stderr=file
            )

    def run(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a process on the host to its end."""
        return subprocess.run(
            self._command(words),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def cut(self) -> None:
        """Pull the cable: what was sent is lost, and nobody is told."""
        _ip("link", "set", self.name, "down")

    def _command(self, words: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]


@contextmanager
def hosts(number: int, environment: Mapping[str, str]) -> Iterator[list[Host]]:
    """So many hosts, that see each other, and neither this machine nor the world."""
    prefix = f"cj{os.getpid()}"
    with ExitStack() as undo:
        _ip("link", "add", prefix, "type", "bridge")
        undo.callback(_ip, "link", "delete", prefix)
        _ip("link", "set", prefix, "up")
        made = []
        for index in range(number):
            name, address = f"{prefix}-{index}", f"10.89.0.{index + 1}"
            _ip("netns", "add", name)
            undo.callback(_ip, "netns", "delete", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            # not left to the namespace, which lives on until its last connection has timed out
            undo.callback(_ip, "link", "delete", name)
            _ip("link", "set", name, "master", prefix, "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            made.append(Host(name, address, environment))
        yield made


@contextmanager
def ray_on(host: Host, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`ray start` on a host, until the block ends: killed by number, for others' Ray runs, too.

    It yields the process below which all of that host's Ray runs.
    """
    # sockets have short names only
    folder = Path(tempfile.mkdtemp(prefix="cj-"))
    log = folder / "start.txt"
    fixed = ["--node-ip-address", host.address, "--temp-dir", str(folder), "--disable-usage-stats"]
    process = host.start([str(RAY), "start", *words, *fixed, "--block"], log)
    try:
        wait_until(lambda: process.poll() is not None or "Ray runtime started" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        below = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kill_all(below)
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
