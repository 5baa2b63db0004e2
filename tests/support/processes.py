"""The processes below this one, as Linux tells them, and how to strike them."""

import ipaddress
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the processes that `pid` started, directly or not."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue  # it has just ended
        # the name, in parentheses, may hold spaces
        parent = int(status.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def with_variable(name: str, value: str) -> list[int]:
    """Return the processes that were started with this environment variable, whoever did it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended, or is another user's
        if f"{name}={value}".encode() in variables:
            found.append(int(folder.name))
    return found


def title(pid: int) -> str:
    """Return the command line of a process, which Ray sets to what it runs; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def training_workers(pid: int) -> list[int]:
    """Return the processes below `pid` in which Ray Train trains."""
    return [one for one in descendants(pid) if "RayTrainWorker" in title(one)]


def scorers(pid: int) -> list[int]:
    """Return the processes below `pid` that score."""
    names = ("MapBatches(BlockPredictor)", "_RemotePredictor", "cnnjobs.cluster.child")
    return [one for one in descendants(pid) if any(name in title(one) for name in names)]


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone; those that are gone already are left."""
    titles = {pid: title(pid) for pid in pids}
    for pid, known in titles.items():
        # another process may have got the number in between
        if title(pid) == known != "":
            kill(pid)
    wait_until(lambda: not any(title(pid) == known != "" for pid, known in titles.items()))


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Look every few milliseconds whether something has come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.02)


def listening(pids: Iterable[int]) -> set[str]:
    """Return the addresses on which these processes listen, `IP:PORT`."""
    inodes = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(file.readlink().name)
            except OSError:
                continue  # it has just been closed
    return {address for inode, address in all_listening() if f"socket:[{inode}]" in inodes}


def all_listening() -> set[tuple[str, str]]:
    """Return inode and `IP:PORT` of every socket that listens, from the kernel's tables."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            address, _, port = local.partition(":")
            if state == "0A":
                # words of four bytes, each in the machine's byte order
                parts = [address[at : at + 8] for at in range(0, len(address), 8)]
                ip = ipaddress.ip_address(b"".join(bytes.fromhex(part)[::-1] for part in parts))
                # an IPv4 address may be written as one of IPv6
                found.add((inode, f"{getattr(ip, 'ipv4_mapped', None) or ip}:{int(port, 16)}"))
    return found
