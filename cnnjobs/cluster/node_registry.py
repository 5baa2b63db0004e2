"""The Ray nodes that `cnnjobs cluster start` started on this machine, and how to reach them."""

import contextlib
import dataclasses
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cnnjobs.cluster import auth_token

#: Makes Ray serve, and look for, a head on 127.0.0.1 alone. It is read when Ray is imported;
#: without it Ray puts the machine's own address in place of any loopback one.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node: the process that holds it together, and where its cluster answers.

    Attributes:
        pid: of that process, which leads a session of its own.
        born: when the kernel started it, for telling it from a later one of the same number.
        machine: host name, because a home folder may be on several machines.
        address: `HOST:PORT` of the head.
        dashboard: `http://HOST:PORT` for jobs; None of a worker.
        temp_dir: of Ray; None where it is Ray's own.
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
    """Whether the host is this machine as only itself sees it."""
    return host.strip("[]") in LOOPBACK_HOSTS


def nodes() -> list[Node]:
    """Those that run, heads first; records of others are taken away."""
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
    """Remember a node."""
    folder().mkdir(parents=True, exist_ok=True)
    aside = _file(node).with_suffix(".new")
    aside.write_text(json.dumps(dataclasses.asdict(node)), encoding="utf-8")
    aside.replace(_file(node))


def forget(node: Node) -> None:
    """Forget a node that was stopped."""
    _file(node).unlink(missing_ok=True)


def folder() -> Path:
    """Where the records and logs lie."""
    return Path.home() / ".cnnjobs" / "nodes"


def birth(pid: int) -> str | None:
    """When a process was started, in the kernel's own count; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # the name before it, in brackets, may hold spaces
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def session(pid: int) -> list[int]:
    """The processes of the session that `pid` leads, also those whose parents are gone."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(folder.name)) == pid:
                found.append(int(folder.name))
    return found


def before_ray(address: str | None) -> None:
    """Let this process reach the cluster at `address`; to be called before Ray is imported.

    A token that is there is used, which Ray itself does for a local Ray alone. A head of
    `cnnjobs cluster start` on 127.0.0.1 is found, also where no address is given.
    """
    if auth_token.find() is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    wanted = address or os.environ.get("RAY_ADDRESS") or "auto"
    for node in nodes():
        if not (node.is_head and node.is_loopback):
            continue
        if wanted == "auto" or _same(wanted, node.address):
            os.environ.update(LOOPBACK)
        if wanted == "auto":
            os.environ["RAY_ADDRESS"] = node.address
            return


def _same(address: str, of_head: str) -> bool:
    host, _, port = address.rpartition(":")
    return is_loopback(host) and port == of_head.rpartition(":")[2]


def _file(node: Node) -> Path:
    return folder() / f"{node.machine}-{node.pid}.json"
