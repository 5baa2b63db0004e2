"""Ray for the length of a job: a local one of its own, or a cluster that runs already."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from cnnjobs.errors import CnnjobsError, InputError

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
        yield
        return
    # under `uv run` Ray would rebuild the environment on every worker, for minutes
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray will stop hiding GPUs from tasks that ask for none; take that now, and its warning away
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _init(address)
    try:
        yield
    finally:
        ray.shutdown()


def call(function: Callable[..., T], *args: Any) -> T:
    """What `function(*args)` gives in a worker process: for what imports TensorFlow.

    The package's own errors come through as themselves.
    """
    try:
        result: T = ray.get(ray.remote(num_cpus=0, max_retries=0)(function).remote(*args))
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


def object_store_bytes() -> int:
    """Memory for objects of the connected cluster, over all nodes."""
    return int(ray.cluster_resources().get("object_store_memory", 0))


def _init(address: str | None) -> None:
    _check_answers(address or os.environ.get("RAY_ADDRESS"))
    logging.getLogger("ray").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RayError, ValueError, RuntimeError) as error:
            raise _no_answer(address or "this machine", str(error)) from error


def _check_answers(address: str | None) -> None:
    """Raise at once where nothing listens: Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _no_answer(str(address), error.strerror or str(error)) from error


def _no_answer(address: str, reason: str) -> InputError:
    first = reason.strip().splitlines()[0].rstrip(".")
    return InputError(
        f"no Ray cluster answers at {address} ({first}); start one with `ray start --head`, "
        "or leave --address out for a local Ray."
    )
