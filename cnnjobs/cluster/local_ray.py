"""The Ray that a job starts for itself on this machine."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from cnnjobs.cluster import auth_token, node_registry, presence, temp_folder
from cnnjobs.errors import CnnjobsError, InputError

#: Ray gives up after 30 s, and some of its processes after 15 s, which a busy machine may need
#: (ray#65983).
_ATTEMPTS = 3

#: Characters of a folder in which Ray's sockets keep within the 107 that Linux allows.
_MAX_PARENT = 29


def start(folder: contextlib.ExitStack, options: Mapping[str, Any]) -> None:
    """Start Ray and connect to it.

    Args:
        folder: deletes Ray's temporary folder.
        options: for `ray.init`.

    Raises:
        InputError: it would be open to others, or its folder cannot be written.
        CnnjobsError: it does not start.
    """
    _check_closed()
    with _own_files(folder) as own:
        for left in reversed(range(_ATTEMPTS)):
            try:
                # without an address, a record of a head that was killed would be used
                ray.init(address="local", **options)
            except Exception as error:  # Ray raises this very class
                _kill_started(own)
                if left:
                    continue
                reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
                raise CnnjobsError(
                    f"Ray did not start on this machine in {_ATTEMPTS} attempts ({reason}); run "
                    "the job again when the machine is less busy, or start Ray first with "
                    "`cnnjobs cluster start`."
                ) from error
            else:
                return


def _kill_started(own: Path) -> None:
    """Kill what a start that failed has left: Ray would keep it as long as this process lives."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(own).encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _check_closed() -> None:
    """Raise InputError if a Ray of this process would listen on more than loopback addresses."""
    own = ray.util.get_node_ip_address()
    if not node_registry.is_loopback(own):
        [(name, value)] = node_registry.LOOPBACK.items()
        raise InputError(
            f"Ray was imported before this job, so a Ray of its own would listen on {own}; call "
            f"ray.init() first, name a cluster by its address, or set {name}={value} before Ray is "
            "imported."
        )


@contextlib.contextmanager
def _own_files(folder: contextlib.ExitStack) -> Iterator[Path]:
    """Have Ray use a folder and a token of this user alone; it would leave both open to all."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "disabled":
        auth_token.ensure()
    before = os.environ.get("RAY_TMPDIR")
    parent = presence.ray_folder().parent
    if len(str(parent)) > _MAX_PARENT:
        parent = Path("/tmp")  # noqa: S108 - the folder is of mode 0700
    own = folder.enter_context(temp_folder.made(parent))
    os.environ["RAY_TMPDIR"] = str(own)
    try:
        yield own
    finally:
        del os.environ["RAY_TMPDIR"]
        if before is not None:
            os.environ["RAY_TMPDIR"] = before
