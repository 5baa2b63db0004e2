"""Bytes that Ray wrote to disk because its object store was full, from the metrics of its nodes.

Ray updates them every ten seconds, so what is spilled in a job's last seconds can be missing. This
module needs nothing but Python because `cnnjobs doctor` sends its source to clusters that may have
nothing else.
"""

import contextlib
import http.client
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: A counter of bytes, and the label of the bytes that were written.
_METRIC, _STATE = "ray_spill_manager_objects_bytes{", 'State="Spilled"'

#: A node answers within 60 ms; one behind a firewall never does.
_TIMEOUT_S = 2
_NUM_AT_ONCE = 32

#: For the job that this process runs; None while unknown.
_spilled: dict[str, int] | None = None


@contextlib.contextmanager
def watched(nodes: Callable[[], Sequence[Mapping[str, Any]]], *, is_new: bool) -> Iterator[None]:
    """Record what is spilled while the block runs, for `reported`.

    Args:
        nodes: `ray.nodes`.
        is_new: whether this Ray was started for the block, so it has spilled nothing yet.
    """
    global _spilled
    _spilled = None
    known = [] if is_new else targets(nodes())
    before = totals(known)
    yield
    # a node that did not answer before may have spilled earlier
    silent = set(known) - set(before)
    after = totals(target for target in targets(nodes()) if target not in silent)
    if after:
        _spilled = by_machine(
            {target: total - before.get(target, 0) for target, total in after.items()}
        )


def reported() -> Mapping[str, int] | None:
    """Bytes spilled on each machine by this process's job; {} if none were.

    None before the job ends, or if no node answers.
    """
    return _spilled


def forget() -> None:
    """Forget what `watched` recorded, when another job begins."""
    global _spilled
    _spilled = None


def targets(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """`HOST:PORT` of the metrics of each live node of `ray.nodes()`."""
    return [
        f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
        for node in nodes
        if node["Alive"]
    ]


def totals(targets: Iterable[str]) -> dict[str, int]:
    """Bytes that each node has spilled since it started; omits nodes that do not answer."""
    nodes = list(targets)
    with ThreadPoolExecutor(_NUM_AT_ONCE) as pool:
        found = zip(nodes, pool.map(_total, nodes), strict=True)
    return {target: total for target, total in found if total is not None}


def by_machine(totals: Mapping[str, int]) -> dict[str, int]:
    """The sum for each host; omits hosts without any."""
    machines: Counter[str] = Counter()
    for target, total in totals.items():
        machines[target.rpartition(":")[0]] += total
    return {machine: total for machine, total in machines.items() if total > 0}


def _total(target: str) -> int | None:
    # no proxy: it leads out of the cluster
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{target}/metrics", timeout=_TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, http.client.HTTPException):
        return None
    found = [line for line in lines if line.startswith(_METRIC) and _STATE in line]
    # not every target is a node: Ray's dashboard is one, too
    return round(float(found[0].rpartition(" ")[2])) if found else None
