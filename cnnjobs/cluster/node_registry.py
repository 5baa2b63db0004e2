"""The Ray nodes that `cnnjobs cluster start` started on this machine."""

import contextlib
import ipaddress
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cnnjobs.storage import json_files

#: Makes Ray serve, and look for, a head on 127.0.0.1 only. Ray reads it when it is imported;
#: without it, Ray replaces any loopback address by the machine's own.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node: its main process, and the addresses of its cluster.

    Attributes:
        pid: of the main process, which leads a session.
        born: when the kernel started it, to recognize a later process with the same pid.
        machine: host name, because several machines may share a home folder.
        address: `HOST:PORT` of the head.
        dashboard: `http://HOST:PORT` for jobs; None for a worker.
        temp_dir: of Ray; None for Ray's default.
    """

    pid: int
    born: str
    machine: str
    address: str
    dashboard: str | None
    temp_dir: str | None
    log: str

    @property
    def is_head(self) -> bool:
        return self.dashboard is not None

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.address.rpartition(":")[0])


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach it under this host name."""
    host = host.strip("[]").lower()
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def nodes() -> list[Node]:
    """The running nodes, heads first; records of nodes that have ended are deleted."""
    found = []
    for file in sorted(folder().glob("*.json")):
        node = Node(**json.loads(file.read_text(encoding="utf-8")))
        if node.machine != socket.gethostname():
            continue
        if birth(node.pid) == node.born:
            found.append(node)
        else:
            file.unlink(missing_ok=True)
    return sorted(found, key=lambda node: not node.is_head)


def record(node: Node) -> None:
    """Add a node."""
    folder().mkdir(parents=True, exist_ok=True)
    partial = _file(node).with_suffix(".new")
    partial.write_text(json_files.text(node, indent=None), encoding="utf-8")
    partial.replace(_file(node))


def forget(node: Node) -> None:
    """Remove a node that has stopped."""
    _file(node).unlink(missing_ok=True)


def folder() -> Path:
    """Folder of the records and logs."""
    return Path.home() / ".cnnjobs" / "nodes"


def birth(pid: int) -> str | None:
    """When a process started, as the kernel counts; None if it does not exist."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # the process name, in parentheses, may contain spaces
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def session(pid: int) -> list[int]:
    """The processes of the session led by `pid`, including those whose parents have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(folder.name)) == pid:
                found.append(int(folder.name))
    return found


def _file(node: Node) -> Path:
    return folder() / f"{node.machine}-{node.pid}.json"
