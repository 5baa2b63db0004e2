"""Ray for the length of a job: a local one of its own, or a cluster that runs already."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from cnnjobs.cluster import node_registry, preflight, resources, spilling
from cnnjobs.cluster.resources import Places, Wanted
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.storage import s3

T = TypeVar("T")


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Ray while the block runs; what was started for it is stopped after it.

    Args:
        address: of a cluster; `auto` for the one running on this machine. None takes
            RAY_ADDRESS or a running `ray start --head`, and else starts a local Ray that
            ends with the block. An initialized Ray is used as it is, and left running.

    Raises:
        InputError: no Ray answers at the address.
    """
    if ray.is_initialized():
        with spilling.watched(ray.nodes, is_new=False):
            yield
        return
    # under `uv run` Ray would rebuild the environment on every worker, for minutes
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray tells its makers how it is used, and Ray Data starts a process for that
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray will stop hiding GPUs from tasks that ask for none; take that now, and its warning away
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # a node that asks its object store a moment too early asks again after a second, ten times
    os.environ.setdefault("RAY_raylet_client_connect_timeout_milliseconds", "50")
    os.environ.setdefault("RAY_raylet_client_num_connect_attempts", "200")
    try:
        with _interrupts_later():
            _init(address)
        with spilling.watched(ray.nodes, is_new=_was_started_here()):
            yield
    finally:
        ray.shutdown()


def check(address: str | None = None) -> None:
    """See that a Ray answers where `connected` would look for it, as soon as that can be told.

    Ray itself would try for minutes. A job asks before it makes its output.

    Raises:
        InputError: none does.
    """
    given = address or os.environ.get("RAY_ADDRESS")
    preflight.check_tls()
    if ray.is_initialized() or given in (None, "", "auto", "local"):
        return
    scheme, _, place = str(given).rpartition("://")
    if scheme in ("http", "https"):
        raise InputError(
            f"{given} is where a cluster takes jobs: cnnjobs submit --address {given} ...; a job "
            "that runs here needs HOST:PORT of its head."
        )
    if scheme == "ray":
        head = place.rpartition(":")[0] or place
        raise InputError(
            f"{given} is Ray's client, which cannot run a job's plan; on a machine of the cluster "
            "give HOST:PORT of its head, from outside use cnnjobs submit --address "
            f"http://{head}:8265."
        )
    if scheme:
        return
    try:
        preflight.check_ray(place)
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from error


def call(function: Callable[..., T], *args: Any) -> T:
    """What `function(*args)` gives in a worker process: for what imports TensorFlow.

    The package's own errors come through as themselves.
    """
    try:
        # a process that has used TensorFlow is no place for a training: its threads are set
        remote = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(function)
        result: T = ray.get(remote.remote(*args))
    except RayTaskError as error:
        if isinstance(error.cause, CnnjobsError):
            raise error.cause from None
        raise
    return result


def num_cpus() -> int:
    """CPU cores of the connected cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def num_gpus() -> int:
    """GPUs of the connected cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def scorer_places(wanted: Wanted | None = None, *, memory: int = 0) -> Places:
    """One scorer a GPU, or where there are none one a machine with all its cores.

    Where machines without a GPU stand beside those with one, the cores of all decode for the
    scorers, which then take none; unless it was said how many scorers there are, or of how many
    cores.

    Machines of different sizes get scorers of the smallest one's size, larger ones several, as
    many as their memory holds: the bytes that a scorer needs are `memory`.
    """
    return resources.places_on(_machines(), wanted or Wanted(), memory=memory)


def check_place(wanted: Wanted) -> None:
    """Say on standard error where a scorer has to wait for a machine; for the driver alone.

    Raises:
        InputError: no machine is large enough, and none will come.
    """
    lack = resources.lacking(_machines(), wanted)
    if lack is not None and is_fixed():
        raise InputError(lack)
    if lack is not None:
        # not through logging, which Ray Data sets up anew when it is imported
        sys.stderr.write(f"waiting for a machine: {lack}\n")


def cores_each(number: int, *, num_gpus: float = 0, spare: bool = False) -> float:
    """See `places.cores_each`."""
    return resources.cores_each(_machines(), number, num_gpus=num_gpus, spare=spare)


def is_fixed() -> bool:
    """Whether no machine comes by itself: a Ray of this process, or of `cnnjobs cluster start`."""
    head = ray.get_runtime_context().gcs_address
    return _was_started_here() or any(node.address == head for node in node_registry.nodes())


def object_store_bytes() -> int:
    """Memory for objects of the connected cluster, over all nodes."""
    return int(ray.cluster_resources().get("object_store_memory", 0))


def smallest_store_bytes() -> int:
    """Memory for objects on each machine with cores: what all may hold that every one holds."""
    return resources.smallest_store(_machines())


def _machines() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _init(address: str | None) -> None:
    check(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    place = s3.environment()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                # where S3 is, for workers on other machines
                runtime_env={"env_vars": place} if place else None,
            )
        except (ConnectionError, RayError, ValueError, RuntimeError) as error:
            raise _no_answer(address, str(error)) from error
    if threading.current_thread() is threading.main_thread():
        # Ray takes it, prints a stack and dies of it
        signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, for which a second one does not wait.

    A Ray whose start is broken off leaves two of its processes behind for ever.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    pressed = False

    def later(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            handler(number, frame)
        pressed = True

    signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def _was_started_here() -> bool:
    """Whether this process started the Ray it uses: a session's folder is named by who did."""
    first, *others = ray.nodes()
    return (
        not others
        and first["NodeManagerHostname"] == socket.gethostname()
        and f"_{os.getpid()}{os.sep}" in first["ObjectStoreSocketName"]
    )


def _no_answer(address: str | None, reason: str) -> InputError:
    first = reason.strip().splitlines()[0].rstrip(".")
    where = address or os.environ.get("RAY_ADDRESS") or "this machine"
    instead = "leave --address out" if address else "unset RAY_ADDRESS"
    return InputError(
        f"no Ray cluster answers at {where} ({first}); start one with `ray start --head`, "
        f"or {instead} for a local Ray."
    )
