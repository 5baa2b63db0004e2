"""Which Ray a job on this machine uses: that at an address, one that runs here, or its own.

Nothing here imports Ray.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

from cnnjobs.cluster import auth_mode, node_registry
from cnnjobs.cluster.node_registry import LOOPBACK, is_loopback
from cnnjobs.errors import InputError

_GPUS = Path("/proc/driver/nvidia/gpus")
_TIMEOUT_S = 2


def is_needed(address: str | None) -> bool:
    """Whether a job gains from Ray: it has an address, a Ray runs here, or there are GPUs."""
    return (
        bool(address or os.environ.get("RAY_ADDRESS"))
        or ("ray" in sys.modules and sys.modules["ray"].is_initialized())
        or resolved(None) is not None
        or (_GPUS.is_dir() and any(_GPUS.iterdir()))
    )


def before_ray(address: str | None) -> None:
    """Let this process reach the cluster at `address`; call it before Ray is imported.

    Ray's mode, with or without a token, becomes the one the cluster requires. A Ray that the job
    starts for itself listens on 127.0.0.1 only.
    """
    target = resolved(address)
    if target is None:
        # a Ray whose driver has read it would start its other processes with another answer
        if "ray" not in sys.modules:
            os.environ.update(LOOPBACK)
        auth_mode.forget()
        return
    if _is_on_loopback_only(target):
        os.environ.update(LOOPBACK)
    else:
        for name, _ in LOOPBACK.items() & os.environ.items():
            # of another job in this process, or in one that started it
            del os.environ[name]
    if "://" not in target:
        auth_mode.follow(target)


def resolved(address: str | None) -> str | None:
    """The address of the cluster that a job would use; None if it starts a Ray of its own.

    Without an address: RAY_ADDRESS, a head of `cnnjobs cluster start`, or one of `ray start`.
    """
    target = address if address not in (None, "", "auto") else os.environ.get("RAY_ADDRESS")
    if target not in (None, "", "auto"):
        return None if target == "local" else target
    return next(iter(_heads_here()), None)


def check_one_head() -> None:
    """Raise InputError if a job without an address would have to choose between heads."""
    heads = _heads_here()
    if len(heads) > 1:
        jobs = {node.address: f" (jobs at {node.dashboard})" for node in node_registry.nodes()}
        shown = " and ".join(f"{head}{jobs.get(head, '')}" for head in heads)
        raise InputError(f"{len(heads)} heads run on this machine, {shown}; give --address.")


def ray_folder() -> Path:
    """Ray's default folder for what its nodes on this machine leave."""
    temp = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    return Path(os.environ.get("RAY_TMPDIR") or temp or "/tmp") / "ray"  # noqa: S108 - as Ray does


def _heads_here() -> list[str]:
    """The addresses of the heads on this machine, those of `cnnjobs cluster start` first."""
    heads = [node.address for node in node_registry.nodes() if node.is_head]
    with contextlib.suppress(OSError):
        # where `ray.init` looks, too: the last head of `ray start`
        record = (ray_folder() / "ray_current_cluster").read_text(encoding="utf-8").strip()
        is_listed = any(_parts(head)[1] == _parts(record)[1] for head in heads)
        # the record outlives a head that was killed
        if not is_listed and _listens(*_parts(record)):
            heads.append(record)
    return heads


def _is_on_loopback_only(address: str) -> bool:
    """Whether a head listens on 127.0.0.1 and not on this machine's other address.

    Ray replaces 127.0.0.1 by that address unless `LOOPBACK` is set.
    """
    host, port = _parts(address)
    if not is_loopback(host):
        return False
    if any(node.is_loopback and _parts(node.address)[1] == port for node in node_registry.nodes()):
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        try:
            # how Ray finds that address; a datagram socket sends nothing here
            unused.connect(("8.8.8.8", 80))
        except OSError:
            return True
        own = unused.getsockname()[0]
    return _listens(host, port) and not _listens(own, port)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=_TIMEOUT_S).close()
    except (OSError, UnicodeError):
        return False
    return True


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port) if port.isdecimal() and int(port) < 1 << 16 else 0
