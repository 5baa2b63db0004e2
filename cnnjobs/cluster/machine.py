"""What this machine offers a Ray node: ports, memory for objects, and a way to its head."""

import os
import socket
from pathlib import Path

from cnnjobs.cluster import node_registry, preflight
from cnnjobs.errors import InputError

#: Ray's object store takes this share of the memory, but lies in /dev/shm: a larger one is put
#: on disk. Of /dev/shm some is left to others.
_STORE_SHARE, _SHM_SHARE = 0.3, 0.9

#: Ray starts no node with less than 75 MiB. A container has 64 MiB of /dev/shm if nobody says
#: otherwise: there Ray puts the store on disk and warns.
_LEAST_STORE_BYTES = 80 << 20


def store_bytes(given_gib: float | None) -> int:
    """What Ray's object store takes: as given, or as much as stays in memory."""
    if given_gib is not None:
        return int(given_gib * (1 << 30))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    wanted = int(memory * _STORE_SHARE)
    if not Path("/dev/shm").is_dir():
        return wanted
    space = os.statvfs("/dev/shm")
    return max(_LEAST_STORE_BYTES, min(wanted, int(space.f_bavail * space.f_frsize * _SHM_SHARE)))


def check_port(host: str, port: int, option: str) -> None:
    """Raise InputError, which names the option to change, where a port cannot be listened on."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise InputError(
                f"{host}:{port} cannot be used ({error.strerror}); give another {option} or "
                "--host, or stop what is there: `cnnjobs cluster status`."
            ) from error


def check_head(address: str) -> str:
    """The address of this machine under which it can join a head.

    Raises:
        InputError: no head answers that this machine could join.
    """
    host = address.rpartition(":")[0]
    if node_registry.is_loopback(host):
        raise InputError(
            f"the head {address} is for this machine alone, which is a node of it already; start "
            "it with `cnnjobs cluster start --head --host ADDRESS`, and join that address."
        )
    try:
        return preflight.check_ray(address)
    except OSError as error:
        raise InputError(
            f"no head answers at {address} ({error.strerror or error}); start one there: "
            "`cnnjobs cluster start --head --host ADDRESS`."
        ) from error


def free_port() -> int:
    """A port that nothing uses now."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])
