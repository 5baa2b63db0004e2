"""What this machine offers a Ray node: ports, memory for its object store, a route to the head."""

import contextlib
import os
import socket
from collections.abc import Collection
from pathlib import Path

from cnnjobs.cluster import node_registry, preflight
from cnnjobs.errors import InputError

#: The object store's share of memory. It is in /dev/shm, of which some is left to others; Ray puts
#: a store that does not fit there on disk.
_STORE_SHARE, _SHM_SHARE = 0.3, 0.9

#: Ray starts no node with less than 75 MiB. A container has 64 MiB of /dev/shm by default: there
#: Ray puts the store on disk and warns.
_MIN_STORE_BYTES = 80 << 20


def store_bytes(requested_gib: float | None) -> int:
    """Size of Ray's object store: as requested, or what fits in memory."""
    if requested_gib is not None:
        return int(requested_gib * (1 << 30))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    share = int(memory * _STORE_SHARE)
    # only measured
    if not Path("/dev/shm").is_dir():  # noqa: S108
        return share
    space = os.statvfs("/dev/shm")  # noqa: S108
    return max(_MIN_STORE_BYTES, min(share, int(space.f_bavail * space.f_frsize * _SHM_SHARE)))


def check_port(host: str, port: int, option: str) -> None:
    """Raise InputError, naming the option to change, if the port cannot be listened on."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise InputError(
                f"{host}:{port} cannot be used ({error.strerror}); use another {option} or --host, "
                "or stop what uses it: `cnnjobs cluster status`."
            ) from error


def check_head(address: str) -> str:
    """Check that this machine can join a head; returns the address under which it does.

    Raises:
        InputError: no head answers, or it serves its own machine only.
    """
    host = address.rpartition(":")[0]
    if node_registry.is_loopback(host):
        raise InputError(
            f"the head {address} serves this machine only, which is already one of its nodes; "
            "start it with `cnnjobs cluster start --head --host ADDRESS`, and join that address."
        )
    try:
        return preflight.check_ray(address)
    except OSError as error:
        raise InputError(
            f"no head answers at {address} ({error.strerror or error}); start one there: "
            "`cnnjobs cluster start --head --host ADDRESS`."
        ) from error


def free_ports(number: int, *, taken: Collection[int] = ()) -> list[int]:
    """Different ports that are free now, and not to be taken by something else that starts."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < number:
            # open until all are found: the same port may be given again once it is closed
            with contextlib.ExitStack() as tried:
                one = tried.enter_context(socket.socket())
                one.bind(("127.0.0.1", 0))
                port = int(one.getsockname()[1])
                if port not in taken:
                    found.append(port)
                    held.push(tried.pop_all())
    return found
