"""Ray's errors about processes and machines, as one line: which one, how much, what to do.

Ray offers their figures only inside texts of many lines.
"""

import re

from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

_MEMORY = re.compile(r"node \(IP: (?P<ip>[^,)]+).*?was (?P<used>\S+) used / (?P<limit>\S+) limit")
_KILLED = re.compile(
    r"Selected to kill: .*?task name=(?P<name>[^,]+),.*?pid=(?P<pid>\d+), "
    r"actual memory used=(?P<own>[^,]+)"
)
_ADDRESS = re.compile(
    r"(?:node IP|IP address|node address|address):? '?(?P<ip>[\d.]+\d)", re.IGNORECASE
)


def in_words(error: BaseException) -> str | None:
    """One line for a process or machine that failed; None for every other error."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    text = str(cause)
    if isinstance(cause, OutOfMemoryError):
        return _out_of_memory(text)
    if isinstance(cause, NodeDiedError) or (
        isinstance(cause, RayError) and "missed too many heartbeats" in text
    ):
        return f"{_machine(text)} stopped answering and left the cluster; look at that machine"
    if isinstance(cause, OutOfDiskError):
        return f"the disk of {_machine(text)} is full; free space in Ray's temporary folder"
    if isinstance(cause, ObjectStoreFullError):
        return "Ray's object store is full; use fewer images, or more memory (docs/clusters.md)"
    if isinstance(cause, ObjectLostError):
        return "data was lost with the process or machine that held it"
    if isinstance(cause, GetTimeoutError):
        return "Ray did not answer in time; look at its head"
    if isinstance(cause, WorkerCrashedError | ActorDiedError | ActorUnavailableError):
        pid = re.search(r"pid[:=] ?(\d+)", text)
        process = f"process {pid[1]}" if pid else "a process"
        return (
            f"{process} of the job died on {_machine(text)}; the kernel may have killed it because "
            "memory was full (dmesg says so)"
        )
    return None


def _out_of_memory(text: str) -> str:
    memory, killed = _MEMORY.search(text), _KILLED.search(text)
    where = f"machine {memory['ip']}" if memory else "a machine"
    full = f" ({memory['used']} of {memory['limit']})" if memory else ""
    process = "a process of the job"
    if killed:
        process = f"process {killed['pid']} ({killed['name'].strip()}, {killed['own']})"
    return (
        f"Ray stopped {process} because the memory of {where} was full{full}; run fewer processes "
        "at once, or use a machine with more memory"
    )


def _machine(text: str) -> str:
    found = _ADDRESS.search(text)
    return f"machine {found['ip']}" if found else "a machine"
