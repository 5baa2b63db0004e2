"""`cnnjobs cluster`: a Ray node on this machine that only the owner of its token can use.

Ray runs any code sent to it. `ray start` requires a token only if it happens to find one, and
listens on all addresses. Here a token is always required, and a head listens on 127.0.0.1 unless
another host is given.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnjobs.cluster import (
    auth_token,
    machine,
    node_registry,
    preflight,
    presence,
    ray_start,
    spilling,
)
from cnnjobs.cluster.node_registry import Node
from cnnjobs.config import ClusterStartConfig
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent

#: Printed by `ray start` once a node is up.
_UP = "Ray runtime started."
_START_S = 120

#: Ray waits up to 30 s for actors to end, but those that Ray Data leaves behind never do.
_STOP_S = 6


@dataclass(frozen=True, kw_only=True)
class StartSummary:
    """A node that was started; `opens` says what it exposes to the network."""

    pid: int
    address: str
    dashboard: str | None
    token: str
    object_store_bytes: int
    log: str
    opens: str | None


def start(config: ClusterStartConfig, progress: Progress = silent) -> StartSummary:
    """Start a head or a worker and wait until it is up; it outlives this process.

    Raises:
        InputError: a port is taken, a TLS file is missing or does not match, or no head answers.
        CnnjobsError: Ray does not come up.
    """
    ray_start.check(config)
    auth_token.ensure()
    progress("start", 0, 1, "waiting for Ray")
    command = ray_start.command(config)
    log = node_registry.folder() / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        # a list of words: no shell reads them
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=ray_start.environment(config),
            start_new_session=True,
        )
    node = _node(config, process.pid, log)
    # before it is up: `stop` must also end a node that never comes up
    node_registry.record(node)
    _wait_until_up(node, process)
    return StartSummary(
        pid=node.pid,
        address=node.address,
        dashboard=node.dashboard,
        token="RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(auth_token.path()),
        object_store_bytes=machine.store_bytes(config.object_store_gib),
        log=str(log),
        opens=None if ray_start.is_private(config) else _exposure(config),
    )


def plan(config: ClusterStartConfig) -> dict[str, Any]:
    """What `--dry-run` reports: the command that would run."""
    return {"command": " ".join(ray_start.command(config)), "token": str(auth_token.path())}


def stop(address: str | None = None) -> list[Node]:
    """Stop the nodes that `start` started here, or those of one cluster, and no other Ray.

    Raises:
        InputError: there are none.
    """
    chosen = [node for node in node_registry.nodes() if address in (None, node.address)]
    if not chosen:
        of = "" if address is None else f" of {address}"
        raise InputError(f"`cnnjobs cluster start` has no node{of} running on this machine.")
    # workers first: they log errors if their head is gone
    for node in reversed(chosen):
        _end(node)
        node_registry.forget(node)
    return chosen


def status() -> list[dict[str, Any]]:
    """The nodes started here; a head also has its `cluster`, None if it does not answer."""
    return [
        {
            "kind": "head" if node.is_head else "worker",
            "pid": node.pid,
            "address": node.address,
            "dashboard": node.dashboard,
            "cluster": _resources(node) if node.is_head else None,
        }
        for node in node_registry.nodes()
    ]


def facts(nodes: Sequence[Node]) -> Mapping[str, Any]:
    """The stopped nodes, as `--json` prints them."""
    return {"stopped": [{"pid": node.pid, "address": node.address} for node in nodes]}


def _node(config: ClusterStartConfig, pid: int, log: Path) -> Node:
    host = ray_start.host(config)
    return Node(
        pid=pid,
        born=node_registry.birth(pid) or "",
        machine=socket.gethostname(),
        address=f"{host}:{config.port}" if config.head else str(config.address),
        dashboard=f"http://{host}:{config.dashboard_port}" if config.head else None,
        temp_dir=config.temp_dir,
        log=str(log),
    )


def _wait_until_up(node: Node, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            node_registry.forget(node)
            raise CnnjobsError(f"Ray did not start: {_last_error(node)}; full log: {node.log}.")
        if _UP in Path(node.log).read_text(encoding="utf-8", errors="replace") and (
            node.dashboard is None or _answers(node.dashboard)
        ):
            return
        time.sleep(0.2)
    _end(node)
    node_registry.forget(node)
    raise CnnjobsError(f"Ray did not start within {_START_S} s; see its log: {node.log}.")


def _last_error(node: Node) -> str:
    """The most telling line of the log: the last one with an error."""
    text = Path(node.log).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", text).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["it printed nothing"])[-1].rstrip(".")


def _answers(dashboard: str) -> bool:
    auth_token.keep_from_proxies(dashboard)
    # an address that this package wrote: http://HOST:PORT
    request = urllib.request.Request(f"{dashboard}/api/version")  # noqa: S310
    request.add_header("Authorization", f"Bearer {auth_token.find()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(node: Node) -> None:
    """End a node cleanly (the way Ray defines for --block), then kill what is left of it."""
    os.kill(node.pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_S
    while node_registry.birth(node.pid) == node.born and time.monotonic() < end:
        time.sleep(0.1)
    for pid in node_registry.session(node.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _resources(node: Node) -> dict[str, Any] | None:
    presence.before_ray(node.address)
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    from cnnjobs.cluster import head_client

    auth_token.keep_from_proxies(str(node.dashboard))
    try:
        alive = [
            dict(each.resources_total or {})
            for each in list_nodes(address=node.dashboard, detail=True)
            if each.state == "ALIVE"
        ]
        token = {"Authorization": f"Bearer {auth_token.find()}"}
        groups = head_client.get(f"{node.dashboard}/api/prometheus/sd", token)
    except (RayStateApiException, OSError, RuntimeError):
        return None
    return {
        "nodes": len(alive),
        "cpus": int(sum(each.get("CPU", 0) for each in alive)),
        "gpus": int(sum(each.get("GPU", 0) for each in alive)),
        "object_store_bytes": int(sum(each.get("object_store_memory", 0) for each in alive)),
        "spilled_bytes": spilling.by_machine(
            spilling.totals(target for group in groups for target in group["targets"])
        ),
    }


def _exposure(config: ClusterStartConfig) -> str:
    where = ray_start.host(config) or "this machine's address"
    ports = f"{config.port} (Ray), {config.dashboard_port} (jobs) and " if config.head else ""
    tls = "" if preflight.uses_tls() else ", and nothing is encrypted (RAY_USE_TLS)"
    return (
        f"{where} is open to the network on {ports}Ray's ports of nodes and workers: anyone with "
        f"the token can run code here{tls}; see docs/clusters.md."
    )
