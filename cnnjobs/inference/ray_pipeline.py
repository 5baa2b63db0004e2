"""Manifest rows to prediction rows through Ray Data: the `Pool` of processes on a cluster."""

import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.annotations import RayDeprecationWarning
from ray.util.metrics import Gauge

from cnnjobs import schema
from cnnjobs.cluster import resources, session
from cnnjobs.cluster.child import Died
from cnnjobs.cluster.resources import Allocation, Request
from cnnjobs.errors import SourceError
from cnnjobs.imaging.daemon_threads import end_if_frozen
from cnnjobs.inference import ray_blocks, supervision
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.inference.reports import HELP, Metric
from cnnjobs.inference.supervision import BLOCKS_AT_ONCE, BLOCKS_QUEUED
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.openvino_export import Export

#: Memory that an actor needs, measured on 101 X-rays: OpenVINO 0.7 GB with most models, 2.3 GB
#: with efficientnetv2b0; Keras 1.1 to 1.5 GB.
_ACTOR_BYTES = 2 << 30

#: How Ray reports a process that did not start because it cannot read the images.
_SOURCE_ERROR = "cnnjobs.errors.SourceError: "

#: A process or a machine is gone: others can take over its work.
_DEATHS = (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    WorkerCrashedError,
)


class RayBackend:
    """Scores on the connected Ray; see `backends.Backend`.

    One actor per machine (or per GPU, if there are any) reads, decodes and scores on several
    threads; see `resources.allocate` for machines with and without GPUs.
    """

    def __init__(self, actors: Request) -> None:
        """Hold what the user asks for.

        Args:
            actors: how many to start, and with what. One with a GPU scores with Keras, even if the
                autoscaler has yet to add that GPU.
        """
        self._actors = actors

    @property
    def has_gpu(self) -> bool:
        return self._actors.num_gpus is not None or resources.num_gpus() > 0

    @property
    def object_store_bytes(self) -> int:
        return resources.object_store_bytes()

    def export(self, bundle: Bundle) -> Export:
        """Export a model to OpenVINO, which imports TensorFlow."""
        return session.call(openvino_export.write, bundle)

    def check(self, bundle: Bundle) -> float | None:
        """Compare a model's export with Keras, likewise."""
        return session.call(openvino_export.check, bundle)

    def publish(self, run: str, metrics: Sequence[Metric]) -> None:
        """Set gauges, which Ray's nodes serve as `ray_cnnjobs_*`."""
        for each in metrics:
            tags = {"run": run, **({} if each.reason is None else {"reason": each.reason})}
            _gauge(each.name, tuple(tags)).set(each.value, tags)

    def pool(self, scoring: Scoring) -> "_RayPool":
        """Actors.

        Raises:
            InputError: no machine is large enough for one, and none will be added.
        """
        resources.check_request(self._actors)
        return _RayPool(scoring, self._actors)


@functools.cache
def _gauge(name: str, tag_keys: tuple[str, ...]) -> Gauge:
    return Gauge(f"cnnjobs_{name}", description=HELP[name], tag_keys=tag_keys)


class _RayPool:
    def __init__(self, scoring: Scoring, actors: Request) -> None:
        self._scoring = scoring
        self._actors = actors

    def attempt(self, rows: pa.Table) -> "_RayAttempt":
        machines = resources.live_machines()
        allocation = resources.allocate(machines, self._actors, memory=_ACTOR_BYTES)
        return _RayAttempt(rows, self._scoring, allocation)


class _RayAttempt:
    def __init__(self, rows: pa.Table, scoring: Scoring, allocation: Allocation) -> None:
        self._scoring = scoring
        self._allocation = allocation
        self._blocks = supervision.blocks(rows, scoring, num_processes=allocation.number)
        largest = max(block.num_rows for block in self._blocks)
        self.window = allocation.number * (BLOCKS_AT_ONCE + BLOCKS_QUEUED) * largest

    def tables(self) -> Iterator[pa.Table]:
        with _deaths():
            yield from _run(self._blocks, self._scoring, self._allocation)

    def lone(self) -> "_LoneActor":
        return _LoneActor(self._scoring, self._allocation)


@ray.remote(max_restarts=0)
class _RemotePredictor:
    """Scores rows outside of Ray Data."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        end_if_frozen(scoring.image_timeout)
        self._predictor = Predictor(scoring, threads=threads)

    def check(self) -> None:
        self._predictor.check()

    def score(self, rows: pa.Table) -> pa.Table:
        return self._predictor(rows)


class _LoneActor:
    """One actor that has shown that it can score."""

    def __init__(self, scoring: Scoring, allocation: Allocation) -> None:
        self._actor: Any = _RemotePredictor.options(  # type: ignore[attr-defined]
            num_cpus=allocation.num_cpus, num_gpus=allocation.num_gpus, memory=allocation.memory
        ).remote(scoring, threads=allocation.threads)
        with _deaths():
            ray.get(self._actor.check.remote())

    def score(self, rows: pa.Table) -> pa.Table:
        with _deaths():
            return ray.get(self._actor.score.remote(rows))

    def close(self) -> None:
        ray.kill(self._actor)


@contextmanager
def _deaths() -> Iterator[None]:
    """Raise `Died` for what Ray raises when a process is gone."""
    try:
        yield
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, _DEATHS):
            raise
        reason = None
        if isinstance(cause, ActorDiedError) and cause.actor_init_failed:
            line = cause.error_msg.strip().splitlines()[-1]
            if line.startswith(_SOURCE_ERROR):
                raise SourceError(line.removeprefix(_SOURCE_ERROR)) from error
            reason = re.sub(r"^cnnjobs\.errors\.\w+: ", "", line)
        raise Died(type(error).__name__, reason) from error


def _run(blocks: list[pa.Table], scoring: Scoring, allocation: Allocation) -> Iterator[pa.Table]:
    """Run a Ray Data plan and yield its tables.

    It ends early when images have timed out: a thread may be busy with each of them forever, until
    its process ends.
    """
    # imported here: it takes half a second, which other commands need not wait for
    import ray.data

    from cnnjobs.cluster.ray_data import quiet_and_ordered

    # not the rows themselves: `from_arrow` runs a task per block just to inspect it, before the
    # first is scored, for which Ray starts two worker processes
    items = [ray_blocks.packed(block) for block in blocks]
    with quiet_and_ordered(), warnings.catch_warnings():
        # `map_batches` has no parameter for `max_restarts` yet
        warnings.filterwarnings("ignore", "`ray_remote_args` is", RayDeprecationWarning)
        data: ray.data.Dataset = ray.data.from_items(items, override_num_blocks=len(items))
        if allocation.decoders:
            data = data.map_batches(
                ray_blocks.BlockDecoder,
                fn_constructor_kwargs={"scoring": scoring, "threads": allocation.decoder_cpus},
                batch_size=1,
                num_cpus=allocation.decoder_cpus,
                **_pool(allocation.decoders),
            )
        scored = data.map_batches(
            ray_blocks.BlockPredictor,
            fn_constructor_kwargs={"scoring": scoring, "threads": allocation.threads},
            # a block is one row before it is decoded
            batch_size=scoring.batch_size if allocation.decoders else 1,
            num_cpus=allocation.num_cpus,
            num_gpus=allocation.num_gpus,
            memory=allocation.memory,
            **_pool(allocation.number),
        )
    predictions = schema.predictions(
        len(scoring.bundles[0].labels), num_models=len(scoring.bundles)
    )
    result = pa.unify_schemas([predictions, schema.MEASURES])
    num_stuck = 0
    # prefetching would hold the first table back until the second has arrived
    for table in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert isinstance(table, pa.Table)
        yield table.cast(result)
        num_stuck += pc.sum(pc.starts_with(table["error"], "timed out:")).as_py() or 0
        # one for each process, so that few are ended that have none
        if num_stuck >= allocation.number:
            return


def _pool(number: int) -> dict[str, Any]:
    """How Ray Data runs actors that work on several blocks at once."""
    import ray.data

    return {
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "compute": ray.data.ActorPoolStrategy(
            # those that fit begin at once, without waiting for a busy machine
            min_size=1,
            max_size=number,
            initial_size=number,
            max_tasks_in_flight_per_actor=BLOCKS_AT_ONCE + BLOCKS_QUEUED,
            max_concurrent_calls_per_actor=BLOCKS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
        # Ray would retry the same rows forever. After a machine is lost it would wait for another
        # one, and the rows after the lost ones, which must not come first, would be dropped if
        # the job were stopped
        "max_restarts": 0,
    }
