"""A connection to Ray for the duration of a job: a local Ray, or a running cluster."""

import contextlib
import logging
import os
import re
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cnnjobs.cluster import (
    auth_mode,
    local_ray,
    node_registry,
    preflight,
    presence,
    ray_errors,
    spilling,
)
from cnnjobs.config import urls
from cnnjobs.errors import CnnjobsError, InputError
from cnnjobs.storage import s3

#: How Ray Data names the threads of a plan, and seconds to wait for one that stops.
_PLAN, _PLAN_STOPS_S = ("StreamingExecutor-", "iter_threaded"), 60.0

#: The cluster's versions, then this process's, in Ray's message that they differ.
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")

T = TypeVar("T")


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Connect to Ray for the duration of the block; stop what was started for it.

    An initialized Ray is used as it is, and left running.

    Args:
        address: of a cluster; `auto` for the one running on this machine. None uses
            RAY_ADDRESS or a running `ray start --head`, and otherwise starts a local Ray that
            ends with the block.

    Raises:
        InputError: no Ray answers at the address.
        CnnjobsError: a process or a machine of Ray failed; see `ray_errors`.
    """
    if ray.is_initialized():
        with _failures_in_words(), spilling.watched(ray.nodes, is_new=False):
            yield
        return
    # under `uv run` Ray would rebuild the environment on every worker, for minutes
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray sends usage statistics to its developers, and Ray Data starts a process for that
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray will stop hiding GPUs from tasks that request none: adopt that now, which also silences
    # its warning
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # a node that connects to its object store a moment too early retries after a second, ten times
    os.environ.setdefault("RAY_raylet_client_connect_timeout_milliseconds", "50")
    os.environ.setdefault("RAY_raylet_client_num_connect_attempts", "200")
    folder = contextlib.ExitStack()
    try:
        with _interrupts_deferred():
            _init(address, folder)
        with _failures_in_words(), spilling.watched(ray.nodes, is_new=_was_started_here()):
            yield
    finally:
        _wait_for_plans()
        ray.shutdown()
        folder.close()


def check(address: str | None = None) -> None:
    """Check that a Ray answers where `connected` would look for it.

    Ray itself would keep trying for minutes. A job calls this before it creates its output.

    Raises:
        InputError: no Ray answers, it rejects the token, or runs another version of Ray.
    """
    urls.refuse("address", address or os.environ.get("RAY_ADDRESS"))
    preflight.check_tls()
    if ray.is_initialized():
        return
    if address in (None, "auto") and os.environ.get("RAY_ADDRESS") in (None, "", "auto"):
        presence.check_one_head()
    target = presence.resolved(address)
    if target is None:
        return
    scheme, _, endpoint = target.rpartition("://")
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        raise InputError(
            f"{target} is a cluster's job server: use cnnjobs submit --address {target} ...; a job "
            "that runs here needs HOST:PORT of the cluster's head."
        )
    if scheme == "ray":
        head = endpoint.rpartition(":")[0] or endpoint
        raise InputError(
            f"{target} is a Ray Client address, through which jobs cannot run; on a machine of the "
            "cluster give HOST:PORT of its head, from outside use cnnjobs submit --address "
            f"http://{head}:8265."
        )
    if scheme:
        return
    try:
        preflight.check_ray(endpoint)
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from error
    auth_mode.check(endpoint)


def call(function: Callable[..., T], *args: Any) -> T:
    """Run `function(*args)` in a worker process, for functions that import TensorFlow.

    Exceptions of this package are raised as themselves.
    """
    try:
        # a process that has used TensorFlow cannot train: its number of threads is fixed
        remote = ray.remote(max_retries=0, max_calls=1, **beside_driver())(function)
        result: T = ray.get(remote.remote(*args))
    except RayTaskError as error:
        if isinstance(error.cause, CnnjobsError):
            raise error.cause from None
        raise
    return result


def beside_driver() -> dict[str, Any]:
    """Options of `ray.remote` for what a job cannot lose: no core, on the driver's machine.

    Ray would place it anywhere, and a machine that is lost would end a job that it merely served.
    """
    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    return {"num_cpus": 0, "scheduling_strategy": strategy}


def has_fixed_size() -> bool:
    """Whether no autoscaler adds machines: a Ray of this process or of `cnnjobs cluster start`."""
    head = ray.get_runtime_context().gcs_address
    return _was_started_here() or any(node.address == head for node in node_registry.nodes())


def _wait_for_plans() -> None:
    """Wait until the plans that were closed have stopped.

    Ray Data itself waits for 2 s, too short on a busy machine, and a thread that calls a Ray that
    has shut down prints a stack trace or ends the process on the spot.
    """
    for thread in threading.enumerate():
        if thread.name.startswith(_PLAN):
            thread.join(_PLAN_STOPS_S)


def _init(address: str | None, folder: contextlib.ExitStack) -> None:
    """Connect to Ray, or start one in a temporary folder, which `folder` deletes."""
    check(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    s3_settings = s3.environment()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    target = presence.resolved(address)
    options: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # how workers on other machines reach S3
        "runtime_env": {"env_vars": s3_settings} if s3_settings else None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if target is None and address != "auto":
            local_ray.start(folder, options)
        else:
            try:
                ray.init(target or address, **options)
            except (ConnectionError, RayError, ValueError, RuntimeError) as error:
                raise _no_answer(address, str(error)) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's handler prints a stack trace and ends the process
        signal.signal(signal.SIGTERM, on_sigterm or signal.SIG_DFL)


@contextlib.contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        words = ray_errors.in_words(error)
        if words is None:
            raise
        raise CnnjobsError(f"{words}.") from error


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Delay Ctrl-C and a deadline until the block ends; a second signal takes effect at once.

    A Ray that is interrupted while it starts leaves two processes running forever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    delayed: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if delayed and callable(handler):
            handler(number, frame)
        delayed.append(number)

    deferred = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in deferred:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in deferred.items():
            signal.signal(number, handler)
    if delayed:
        signal.raise_signal(delayed[0])


def _was_started_here() -> bool:
    """Whether this process started the Ray it uses: the session's folder contains its pid."""
    first, *others = ray.nodes()
    return (
        not others
        and first["NodeManagerHostname"] == socket.gethostname()
        and f"_{os.getpid()}{os.sep}" in first["ObjectStoreSocketName"]
    )


def _no_answer(address: str | None, reason: str) -> InputError:
    where = address or os.environ.get("RAY_ADDRESS") or "this machine"
    versions = _VERSIONS.findall(reason)
    if len(versions) == 2:
        there, here = (f"Ray {ray_version}, Python {python}" for ray_version, python in versions)
        return InputError(
            f"the cluster at {where} has {there}, this process {here}; use the same on both sides."
        )
    first = reason.strip().splitlines()[0].rstrip(".")
    instead = "leave out --address" if address else "unset RAY_ADDRESS"
    return InputError(
        f"no Ray cluster answers at {where} ({first}); start one with `ray start --head`, "
        f"or {instead} for a local Ray."
    )
