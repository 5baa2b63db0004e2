"""What commands about clusters and jobs print for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from cnnjobs.cluster.doctor import DoctorSummary
    from cnnjobs.cluster.jobs import JobSummary
    from cnnjobs.cluster.local_nodes import StartSummary
    from cnnjobs.cluster.node_registry import Node


def start_text(summary: "StartSummary") -> str:
    """Where the node is, what it asks for, and what to do next."""
    kind = "worker of" if summary.dashboard is None else "head"
    parts = [f"{kind} {summary.address} runs (pid {summary.pid})"]
    parts.append(f"token: {summary.token}")
    parts.append(f"object store: {_gib(summary.object_store_bytes)}")
    if summary.dashboard is not None:
        parts.append(f"jobs: cnnjobs submit --address {summary.dashboard} predict ...")
    if summary.opens is not None:
        parts.append(f"warning: {summary.opens}")
    return "\n".join([*parts, "stop it: cnnjobs cluster stop"])


def stop_text(nodes: Sequence["Node"]) -> str:
    """What was stopped, a line each."""
    return "\n".join(
        f"stopped the {'head' if node.is_head else 'worker of'} {node.address}" for node in nodes
    )


def status_text(nodes: Sequence[Mapping[str, Any]]) -> str:
    """The nodes here, a line each, and what the whole cluster of a head has."""
    if not nodes:
        return "`cnnjobs cluster start` has no node running on this machine."
    return "\n".join(_node_line(node) for node in nodes)


def job_text(summary: "JobSummary") -> str:
    """How a job is doing, or how it ended."""
    took = "" if summary.seconds is None else f" after {summary.seconds:.1f} s"
    ended = {"SUCCEEDED": "succeeded", "FAILED": "failed", "STOPPED": "was stopped"}
    if summary.status in ended:
        code = f", exit code {summary.exit_code}" if summary.exit_code else ""
        return f"{summary.job} {ended[summary.status]}{took}{code}"
    return f"{summary.job} is {summary.status.lower()}; cnnjobs jobs logs -f {summary.job}"


def jobs_text(jobs: Sequence["JobSummary"]) -> str:
    """A line a job, the oldest first."""
    if not jobs:
        return "no jobs were submitted to this cluster."
    rows = [[each.job, each.status, each.seconds, each.entrypoint] for each in jobs]
    return table(["job", "status", "seconds", "entrypoint"], rows)


def doctor_text(summary: "DoctorSummary") -> str:
    """A line a check, and below a bad one what to do."""
    lines = []
    for check in summary.checks:
        lines.append(f"{'ok ' if check.ok else 'BAD'}  {check.name:<9}  {check.found}")
        if check.fix is not None:
            lines.append(f"     {'':<9}  fix: {check.fix}")
    return "\n".join(lines)


def _node_line(node: Mapping[str, Any]) -> str:
    if node["kind"] == "worker":
        return f"worker of {node['address']} (pid {node['pid']})"
    has = node["cluster"]
    told = (
        "does not answer"
        if has is None
        else (
            f"{has['nodes']} nodes, {has['cpus']} CPUs, {has['gpus']} GPUs, "
            f"object store {_gib(has['object_store_bytes'])}{_spilled(has['spilled_bytes'])}"
        )
    )
    return f"head {node['address']} (pid {node['pid']}), jobs at {node['dashboard']}: {told}"


def _spilled(num_bytes: Mapping[str, int]) -> str:
    if not num_bytes:
        return ""
    each = ", ".join(f"{_gib(number)} on {machine}" for machine, number in num_bytes.items())
    return f"; spilled to disk: {each}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
