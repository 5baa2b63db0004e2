"""What Ray has put on disk because its object store was full, as the metrics of its nodes tell.

Ray renews them every ten seconds: what is spilled in a job's last seconds can be missing. Needs
Python alone, because `cnnjobs doctor` sends this text to clusters that may have nothing else.
"""

import contextlib
import http.client
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: A counter of bytes, and the one of its lines that counts those written.
_METRIC, _STATE = "ray_spill_manager_objects_bytes{", 'State="Spilled"'

#: A node answers within 60 ms; one behind a firewall never does.
_TIMEOUT_S = 2
_ASKED_AT_ONCE = 32

#: Of the job that this process runs; None as long as nothing is known.
_of_the_job: dict[str, int] | None = None


@contextlib.contextmanager
def watched(nodes: Callable[[], Sequence[Mapping[str, Any]]], *, is_new: bool) -> Iterator[None]:
    """Note what is spilled while the block runs, for `reported`.

    Args:
        nodes: `ray.nodes`.
        is_new: whether this Ray was started for the block and has spilled nothing before.
    """
    global _of_the_job
    _of_the_job = None
    asked = [] if is_new else targets(nodes())
    before = totals(asked)
    yield
    # of a node that was silent before nobody knows when it spilled
    silent = set(asked) - set(before)
    after = totals(target for target in targets(nodes()) if target not in silent)
    if after:
        _of_the_job = by_machine(
            {target: total - before.get(target, 0) for target, total in after.items()}
        )


def reported() -> Mapping[str, int] | None:
    """Bytes that were spilled on each machine in this process's job, {} if none.

    None before its end, and where no node answers.
    """
    return _of_the_job


def forget() -> None:
    """Forget what `watched` has noted: another job begins."""
    global _of_the_job
    _of_the_job = None


def targets(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """`HOST:PORT` of the metrics of each of `ray.nodes()` that runs."""
    return [
        f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
        for node in nodes
        if node["Alive"]
    ]


def totals(targets: Iterable[str]) -> dict[str, int]:
    """Bytes that each node has spilled since it started; those that do not answer are left out."""
    asked = list(targets)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        found = zip(asked, pool.map(_total, asked), strict=True)
    return {target: total for target, total in found if total is not None}


def by_machine(totals: Mapping[str, int]) -> dict[str, int]:
    """The sum of each host; those without any are left out."""
    machines: Counter[str] = Counter()
    for target, total in totals.items():
        machines[target.rpartition(":")[0]] += total
    return {machine: total for machine, total in machines.items() if total > 0}


def _total(target: str) -> int | None:
    # nodes of a cluster are not asked through the proxy that leads out of it
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{target}/metrics", timeout=_TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, http.client.HTTPException):
        return None
    found = [line for line in lines if line.startswith(_METRIC) and _STATE in line]
    # others than Ray's nodes answer, too: its dashboard for one
    return round(float(found[0].rpartition(" ")[2])) if found else None
