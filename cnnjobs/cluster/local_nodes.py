"""`cnnjobs cluster`: a Ray node on this machine that only the token's owner can use.

Ray runs any code that reaches it. `ray start` asks for a token only where one happens to lie, and
listens on all addresses; here there is always a token, and a head listens on 127.0.0.1 alone
unless it is told another host.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnjobs.cluster import auth_token, machine, node_registry, preflight, spilling
from cnnjobs.cluster.node_registry import Node
from cnnjobs.config import ClusterStartConfig
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.progress import Progress, silent

#: What `ray start` prints when a node is up.
_UP = "Ray runtime started."
_START_S = 120

#: Ray waits up to 30 s for actors to end, and those that Ray Data leaves never do.
_STOP_S = 6


@dataclass(frozen=True, kw_only=True)
class StartSummary:
    """A node that was started; `opens` says what others on the network can reach now."""

    pid: int
    address: str
    dashboard: str | None
    token: str
    object_store_bytes: int
    log: str
    opens: str | None


def start(config: ClusterStartConfig, progress: Progress = silent) -> StartSummary:
    """Start a head or a worker and wait until it is up; it runs on when this process ends.

    Raises:
        InputError: a port is taken, a TLS file is missing or does not fit, or no head answers.
        CnnjobsError: Ray does not come up.
    """
    _check(config)
    auth_token.ensure()
    progress("start", 0, 1, "waiting for Ray")
    command, host = _command(config), _host(config)
    log = node_registry.folder() / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=_environment(host),
            start_new_session=True,
        )
    node = _node(config, process.pid, log)
    # at once: what does not come up is stopped like any other
    node_registry.record(node)
    _wait_until_up(node, process)
    return StartSummary(
        pid=node.pid,
        address=node.address,
        dashboard=node.dashboard,
        token="RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(auth_token.path()),
        object_store_bytes=machine.store_bytes(config.object_store_gib),
        log=str(log),
        opens=None
        if host is not None and node_registry.is_loopback(host)
        else _opens(config, host),
    )


def plan(config: ClusterStartConfig) -> dict[str, Any]:
    """What `--dry-run` tells: the command that would run."""
    return {"command": " ".join(_command(config)), "token": str(auth_token.path())}


def stop(address: str | None = None) -> list[Node]:
    """Stop the nodes that `start` started here, or those of one cluster; no other Ray.

    Raises:
        InputError: there is none.
    """
    chosen = [node for node in node_registry.nodes() if address in (None, node.address)]
    if not chosen:
        of = "" if address is None else f" of {address}"
        raise InputError(f"`cnnjobs cluster start` has no node{of} running on this machine.")
    # workers first: without their head they would complain
    for node in reversed(chosen):
        _end(node)
        node_registry.forget(node)
    return chosen


def status() -> list[dict[str, Any]]:
    """The nodes started here; of a head also what its whole cluster has, None if it is silent."""
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
    """Nodes that were stopped, as `--json` prints them."""
    return {"stopped": [{"pid": node.pid, "address": node.address} for node in nodes]}


def _host(config: ClusterStartConfig) -> str | None:
    """The address that the node listens on; None: the one Ray finds that sees the head."""
    return config.host or ("127.0.0.1" if config.head else None)


def _command(config: ClusterStartConfig) -> list[str]:
    host = _host(config)
    words = [str(Path(sys.executable).with_name("ray")), "start", "--block"]
    words += [
        "--disable-usage-stats",
        "--object-store-memory",
        str(machine.store_bytes(config.object_store_gib)),
    ]
    words += ["--dashboard-agent-listen-port", str(machine.free_port())]
    if config.head:
        words += ["--head", "--port", str(config.port), "--include-dashboard", "true"]
        words += ["--dashboard-host", str(host), "--dashboard-port", str(config.dashboard_port)]
        # its default, 10001, can be had once a machine
        words += ["--ray-client-server-port", str(machine.free_port())]
    else:
        words += ["--address", str(config.address)]
    given = {
        "--node-ip-address": host,
        "--num-cpus": config.num_cpus,
        "--num-gpus": config.num_gpus,
        # Ray gives a worker the head's
        "--temp-dir": config.temp_dir if config.head else None,
    }
    for name, value in given.items():
        words += [] if value is None else [name, str(value)]
    return words


def _environment(host: str | None) -> dict[str, str]:
    """Of the node, and so of all jobs on it. Ray's TLS variables come through as they are."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {
        **inherited,
        "RAY_AUTH_MODE": "token",
        # `python` in a job is this one, also where its environment is not activated
        "PATH": programs,
        # under `uv run` Ray would rebuild the environment on every worker, for minutes
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        **(node_registry.LOOPBACK if host is not None and node_registry.is_loopback(host) else {}),
    }


def _node(config: ClusterStartConfig, pid: int, log: Path) -> Node:
    host = _host(config)
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
            raise CnnjobsError(f"Ray did not start: {_complaint(node)}; all of it: {node.log}.")
        if _UP in Path(node.log).read_text(encoding="utf-8", errors="replace") and (
            node.dashboard is None or _answers(node.dashboard)
        ):
            return
        time.sleep(0.2)
    _end(node)
    node_registry.forget(node)
    raise CnnjobsError(f"Ray did not start within {_START_S} s; what it said: {node.log}.")


def _complaint(node: Node) -> str:
    """The line of the log that says most: the last one of an error."""
    text = Path(node.log).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", text).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["it said nothing"])[-1].rstrip(".")


def _answers(dashboard: str) -> bool:
    request = urllib.request.Request(f"{dashboard}/api/version")
    request.add_header("Authorization", f"Bearer {auth_token.find()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(node: Node) -> None:
    """End a node in order (Ray's own way for --block), and what is left of it by force."""
    os.kill(node.pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_S
    while node_registry.birth(node.pid) == node.born and time.monotonic() < end:
        time.sleep(0.1)
    for pid in node_registry.session(node.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _resources(node: Node) -> dict[str, Any] | None:
    node_registry.before_ray(node.address)
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    from cnnjobs.cluster import head_client

    try:
        alive = [
            dict(each.resources_total or {})
            for each in list_nodes(address=node.dashboard, detail=True)
            if each.state == "ALIVE"
        ]
        found = head_client.get(f"{node.dashboard}/api/prometheus/sd")
    except (RayStateApiException, OSError, RuntimeError):
        return None
    return {
        "nodes": len(alive),
        "cpus": int(sum(each.get("CPU", 0) for each in alive)),
        "gpus": int(sum(each.get("GPU", 0) for each in alive)),
        "object_store_bytes": int(sum(each.get("object_store_memory", 0) for each in alive)),
        "spilled_bytes": spilling.by_machine(
            spilling.totals(target for group in found for target in group["targets"])
        ),
    }


def _opens(config: ClusterStartConfig, host: str | None) -> str:
    where = host or "this machine's address"
    ports = f"{config.port} (Ray), {config.dashboard_port} (jobs) and " if config.head else ""
    tls = "" if preflight.uses_tls() else ", and nothing is encrypted (RAY_USE_TLS)"
    return (
        f"{where} is open to the network on {ports}Ray's ports of nodes and workers: whoever has "
        f"the token can run any code here{tls}; see docs/clusters.md."
    )


def _check(config: ClusterStartConfig) -> None:
    if not config.head:
        here = machine.check_head(str(config.address))
        preflight.check_tls(config.host or here)
        return
    preflight.check_tls(_host(config))
    for name, port in (("--port", config.port), ("--dashboard-port", config.dashboard_port)):
        machine.check_port(str(_host(config)), port, name)
