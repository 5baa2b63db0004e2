"""Manifest rows to prediction rows through Ray Data, for every job that scores."""

import dataclasses
import gc
import itertools
import logging
import math
import re
import traceback
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.annotations import RayDeprecationWarning

from cnnjobs import schema
from cnnjobs.cluster import resources, session
from cnnjobs.cluster.resources import Allocation, Request
from cnnjobs.config import PredictConfig
from cnnjobs.errors import CnnjobsError, SourceError
from cnnjobs.inference import ray_blocks, source_watch
from cnnjobs.inference.predictor import Scoring
from cnnjobs.inference.ray_bisection import Bisection, is_death
from cnnjobs.inference.source_watch import SourceWatch
from cnnjobs.models import openvino_export

_log = logging.getLogger(__name__)

#: Blocks that an actor works on at once (while one waits for its last images, the next is being
#: decoded), and blocks queued for it besides.
_BLOCKS_AT_ONCE, _BLOCKS_QUEUED = 2, 2

#: Memory that an actor needs, measured on 101 X-rays: OpenVINO 0.7 GB with most models, 2.3 GB
#: with efficientnetv2b0; Keras 1.1 to 1.5 GB.
_ACTOR_BYTES = 2 << 30

#: Attempts in a row without a scored row before the job gives up.
_MAX_FRUITLESS_ATTEMPTS = 3

#: How Ray reports a process that did not start because it cannot read the images.
_SOURCE_ERROR = "cnnjobs.errors.SourceError: "


def request(config: PredictConfig) -> Request:
    """The actors that a job's settings ask for."""
    return Request(
        number=config.actors, num_cpus=config.cpus_per_actor, num_gpus=config.gpus_per_actor
    )


def choose_engine(
    scoring: Scoring, actors: Request | None = None, *, may_export: bool = True
) -> Scoring:
    """Replace the engine `auto` by openvino or keras; needs a connected Ray.

    OpenVINO without GPUs if every model has an export, otherwise Keras.

    Args:
        scoring: how to score.
        actors: what the user asks for; one with a GPU scores with Keras, even if the autoscaler
            has yet to add that GPU.
        may_export: whether to export a model that has no export yet into its bundle.
    """
    wants_gpu = actors is not None and actors.num_gpus is not None
    has_gpu = scoring.engine == "auto" and (wants_gpu or resources.num_gpus() > 0)
    if scoring.engine == "keras" or has_gpu:
        return dataclasses.replace(scoring, engine="keras")
    for bundle in scoring.bundles:
        export = openvino_export.find(bundle)
        if export is None and may_export:
            export = session.call(openvino_export.write, bundle)
        if scoring.engine == "auto" and (export is None or export.refused is not None):
            return dataclasses.replace(scoring, engine="keras")
    return dataclasses.replace(scoring, engine="openvino")


def score(
    rows: pa.Table,
    scoring: Scoring,
    actors: Request | None = None,
    watch: SourceWatch | None = None,
) -> Generator[pa.Table, None, None]:
    """Yield tables of `schema.predictions` and `schema.MEASURES`, with one row for each of `rows`.

    They come in the order of `rows`, except for images whose place failed for a while: those come
    last. One actor per machine (or per GPU, if there are any) reads, decodes and scores on several
    threads; see `resources.allocate` for machines with and without GPUs. If an actor or its
    machine dies, the remaining ones score what is still missing. Needs a connected Ray.

    Args:
        rows: of a manifest.
        scoring: how to score, with its engine chosen.
        actors: how many to start, and with what; None decides by the machines.
        watch: what to take for a failure of the source; None for the usual.

    Raises:
        InputError: no machine is large enough for an actor, and none will be added.
        SourceError: the images cannot be read any more.
        CnnjobsError: actors keep dying.
    """
    actors = actors or Request()
    resources.check_request(actors)
    rows = rows.select(["path", "label", "size_bytes"])
    watch = watch or SourceWatch(rows.num_rows)
    scoring = dataclasses.replace(scoring, samples=source_watch.readable_samples(rows))
    while rows.num_rows:
        with closing(_score_all(rows, scoring, actors)) as tables:
            for table in tables:
                kept = watch.pass_on(table)
                if kept.num_rows:
                    yield kept
                watch.check()
        watch.end_pass(scoring.samples, rows.num_rows)
        held_back, watch.held_back = watch.held_back, []
        rows = rows.filter(pc.is_in(rows["path"], value_set=pa.array(held_back, pa.string())))


def _score_all(
    rows: pa.Table, scoring: Scoring, actors: Request
) -> Generator[pa.Table, None, None]:
    """Yield a row for each of `rows`, in order, whatever dies.

    After a death everything still missing is tried again. If one follows shortly, an image may be
    the cause, which is then looked for.
    """
    done = fruitless = 0
    died_at, looks_closer = -math.inf, False
    reason = None
    while done < rows.num_rows and fruitless < _MAX_FRUITLESS_ATTEMPTS:
        before = done
        allocation = resources.allocate(resources.live_machines(), actors, memory=_ACTOR_BYTES)
        blocks = _blocks(rows.slice(done), scoring, allocation)
        # as many rows as may be in work
        window = (
            allocation.number
            * (_BLOCKS_AT_ONCE + _BLOCKS_QUEUED)
            * max(block.num_rows for block in blocks)
        )
        try:
            if looks_closer:
                tables = _run_bisection(rows.slice(done, window), scoring, allocation)
            else:
                tables = _run(blocks, scoring, allocation)
            for table in tables:
                yield table
                done += table.num_rows
            looks_closer = False
        except RayError as error:
            reason = _startup_failure(error)
            looks_closer = not looks_closer and done - died_at < window
            died_at = done
            _log.warning("scoring processes died after %d rows: %s", done, type(error).__name__)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            # an interrupted plan is a reference cycle: its actors would keep their cores, and its
            # thread would call a Ray that has shut down, which ends the process on the spot
            gc.collect()
        fruitless = fruitless + 1 if done == before else 0
    if done < rows.num_rows:
        path = rows["path"][done]
        if reason is not None:
            raise CnnjobsError(
                f"no scoring process could start ({fruitless} attempts, at {path}): {reason}"
            )
        raise CnnjobsError(
            f"the scoring process died {fruitless} times in a row before it had scored {path}: "
            "memory may be short, or that file may be the cause; see Ray's messages, then continue "
            "with --resume."
        )


def _startup_failure(error: RayError) -> str | None:
    """What an actor raised while it started; None if it died for another reason.

    Raises:
        RayError: the error itself, if it is not a death.
        SourceError: the actor cannot read the images.
    """
    if not is_death(error):
        raise error
    cause = error.cause if isinstance(error, RayTaskError) else error
    if not (isinstance(cause, ActorDiedError) and cause.actor_init_failed):
        return None
    line = cause.error_msg.strip().splitlines()[-1]
    if line.startswith(_SOURCE_ERROR):
        raise SourceError(line.removeprefix(_SOURCE_ERROR)) from error
    return re.sub(r"^cnnjobs\.errors\.\w+: ", "", line)


def _run_bisection(rows: pa.Table, scoring: Scoring, allocation: Allocation) -> Iterator[pa.Table]:
    """Score batch by batch, up to and including the one with an image that ends its process."""
    bisection = Bisection(scoring, allocation)
    with closing(bisection):
        for start in range(0, rows.num_rows, scoring.batch_size):
            yield from bisection.score(rows.slice(start, scoring.batch_size))
            if bisection.num_found:
                return


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


def _blocks(rows: pa.Table, scoring: Scoring, allocation: Allocation) -> list[pa.Table]:
    """The rows as they are handed to actors."""
    from cnnjobs.cluster.ray_data import rows_per_block

    pixels = (each.preprocessing.height * each.preprocessing.width for each in scoring.bundles)
    size = rows_per_block(
        rows.num_rows,
        batch_size=scoring.batch_size,
        image_bytes=max(pixels),
        min_blocks=allocation.number * _BLOCKS_AT_ONCE,
    )
    # the first block is a single batch, which soon shows whether all is well
    starts = [0, *range(scoring.batch_size, rows.num_rows, size), rows.num_rows]
    return [rows.slice(start, end - start) for start, end in itertools.pairwise(starts)]


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
            max_tasks_in_flight_per_actor=_BLOCKS_AT_ONCE + _BLOCKS_QUEUED,
            max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
        # Ray would retry the same rows forever. After a machine is lost it would wait for another
        # one, and the rows after the lost ones, which must not come first, would be dropped if
        # the job were stopped
        "max_restarts": 0,
    }
