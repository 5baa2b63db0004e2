"""`cnnjobs cluster start`, `cluster stop` and `cluster status`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cnnjobs.cli.app import cluster
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ClusterOption, Command
from cnnjobs.cli.options import Debug, Json
from cnnjobs.cli.runner import Job, show
from cnnjobs.config import ClusterStartConfig
from cnnjobs.config.printable import printable_values

if TYPE_CHECKING:
    from cnnjobs.cluster.local_nodes import StartSummary
    from cnnjobs.cluster.node_registry import Node


@job(
    cluster,
    "start",
    ClusterStartConfig,
    options={
        "head": ClusterOption("--head", help="Start the head of a new cluster."),
        "address": ClusterOption(
            metavar="HEAD:PORT", help="Join the cluster of this head as a worker."
        ),
        "host": ClusterOption(
            help="Address of this machine to listen on. Default: for a head 127.0.0.1, for a "
            "worker the one its head can reach."
        ),
        "port": ClusterOption(help="Port of a head for jobs and workers."),
        "dashboard_port": ClusterOption(
            help="Port of a head for `cnnjobs submit` and the dashboard."
        ),
        "num_cpus": ClusterOption(help="Cores for jobs; 0: none. Default: all."),
        "num_gpus": ClusterOption(help="GPUs for jobs. Default: all."),
        "object_store_gib": ClusterOption(
            metavar="GIB",
            help="Memory for Ray's objects. Default: 30% of the machine's, but no more than "
            "/dev/shm holds, beyond which Ray would use the disk.",
        ),
        "temp_dir": ClusterOption(
            metavar="DIR", help="Folder for a head's logs and sockets. Default: Ray's, /tmp/ray."
        ),
    },
)
def start() -> Job:
    """Start a Ray node that requires a token.

    It runs until `cnnjobs cluster stop`. The token is in ~/.ray/auth_token, which only you can
    read; it is created if needed, and a worker needs a copy of its head's. Jobs on this machine
    find the head and the token by themselves.

    cnnjobs cluster start --head
    """
    from cnnjobs.cluster import local_nodes

    return Job(local_nodes.start, local_nodes.plan, start_text)


@cluster.command(cls=Command)
def stop(
    address: Annotated[
        str | None, Option(metavar="HEAD:PORT", help="Stop only nodes of this cluster.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Stop nodes started here by `cluster start`, and no other Ray.

    Jobs that run on them end as well.
    """
    from cnnjobs.cluster import local_nodes

    stopped = local_nodes.stop(address)
    summary = local_nodes.facts(stopped)
    show(summary, lambda _: stop_text(printable_values(stopped)), as_json=as_json)


@cluster.command(cls=Command)
def status(as_json: Json = False, debug: Debug = False) -> None:
    """Show the nodes on this machine and the resources of their clusters."""
    from cnnjobs.cluster import local_nodes

    nodes = local_nodes.status()
    show({"nodes": nodes}, lambda shown: status_text(shown["nodes"]), as_json=as_json)


def start_text(summary: "StartSummary") -> str:
    """The node, its token, and what to do next."""
    kind = "worker of" if summary.dashboard is None else "head"
    parts = [
        f"{kind} {summary.address} is running (pid {summary.pid})",
        f"token: {summary.token}",
        f"object store: {_gib(summary.object_store_bytes)}",
    ]
    if summary.dashboard is not None:
        parts.append(f"submit jobs: cnnjobs submit --address {summary.dashboard} predict ...")
    if summary.opens is not None:
        parts.append(f"warning: {summary.opens}")
    return "\n".join([*parts, "stop: cnnjobs cluster stop"])


def stop_text(nodes: Sequence["Node"]) -> str:
    """The nodes that were stopped, one per line."""
    return "\n".join(
        f"stopped the {'head' if node.is_head else 'worker of'} {node.address}" for node in nodes
    )


def status_text(nodes: Sequence[Mapping[str, Any]]) -> str:
    """The nodes on this machine, one per line; for a head, the resources of its cluster."""
    if not nodes:
        return "No node started by `cnnjobs cluster start` is running on this machine."
    return "\n".join(_node(node) for node in nodes)


def _node(node: Mapping[str, Any]) -> str:
    if node["kind"] == "worker":
        return f"worker of {node['address']} (pid {node['pid']})"
    resources = node["cluster"]
    state = (
        "does not respond"
        if resources is None
        else (
            f"{resources['nodes']} nodes, {resources['cpus']} CPUs, {resources['gpus']} GPUs, "
            f"object store {_gib(resources['object_store_bytes'])}"
            f"{_spilled(resources['spilled_bytes'])}"
        )
    )
    return f"head {node['address']} (pid {node['pid']}), jobs at {node['dashboard']}: {state}"


def _spilled(num_bytes: Mapping[str, int]) -> str:
    if not num_bytes:
        return ""
    machines = ", ".join(f"{_gib(number)} on {machine}" for machine, number in num_bytes.items())
    return f"; spilled to disk: {machines}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
