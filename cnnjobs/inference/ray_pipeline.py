"""Manifest rows to prediction rows through Ray Data: what every job that scores shares."""

import dataclasses
import gc
import itertools
import pickle
import traceback
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa
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

from cnnjobs import schema
from cnnjobs.cluster import session
from cnnjobs.cluster.resources import Wanted
from cnnjobs.errors import CnnjobsError
from cnnjobs.inference.predictor import Scorer, Scoring
from cnnjobs.models import openvino_export

#: Batches in a block: what a scorer takes at once. Ray spends some 6 ms on a block.
_BATCHES_PER_BLOCK = 4

#: Small images are scored by the thousands a second: up to so many rows a block.
_BYTES_PER_BLOCK, _ROWS_PER_BLOCK = 4 << 20, 1024

#: The columns of a block that hold rows of the manifest, and their images if they are decoded.
_ROWS, _IMAGES = "rows", "images"

#: Blocks that a scorer works on at once: while one waits for its last images, the next is
#: being decoded. And blocks that lie ready beside them.
_BLOCKS_AT_ONCE, _BLOCKS_READY = 2, 2

#: Memory that a scorer needs, measured on 101 X-rays: OpenVINO 0.7 GB with most models, 2.3 GB with
#: efficientnetv2b0; Keras 1.1 to 1.5 GB.
_SCORER_BYTES = 2 << 30

#: Starts without a row after which no other is tried.
_MAX_VAIN_STARTS = 3

#: A process or a machine is gone: what it had to do can be done by another.
_DEATHS = (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    WorkerCrashedError,
)


def with_engine(scoring: Scoring, *, may_export: bool = True) -> Scoring:
    """The scoring with `auto` made openvino or keras; needs a connected Ray.

    OpenVINO where there is no GPU and every model has an export; else Keras. A model that has
    none yet is exported into its bundle.
    """
    if scoring.engine == "keras" or (scoring.engine == "auto" and session.num_gpus()):
        return dataclasses.replace(scoring, engine="keras")
    for bundle in scoring.bundles:
        export = openvino_export.find(bundle)
        if export is None and may_export:
            export = session.call(openvino_export.write, bundle)
        if scoring.engine == "auto" and (export is None or export.refused is not None):
            return dataclasses.replace(scoring, engine="keras")
    return dataclasses.replace(scoring, engine="openvino")


def score(
    rows: pa.Table, scoring: Scoring, wanted: Wanted | None = None
) -> Generator[pa.Table, None, None]:
    """Tables of `schema.predictions` and `schema.MEASURES`, one row for each of `rows`.

    They come in the order of `rows`. One actor a machine (a GPU, where there are some) reads,
    decodes and scores, with threads inside; beside GPUs the cores of machines that have none
    read and decode (`cluster.scorer_places`). Where one dies, or its machine, the rows that have
    not come yet are scored by those that are left. Needs a connected Ray.

    Args:
        rows: of a manifest.
        scoring: how to score; its engine must be chosen.
        wanted: how many score, and with what; None leaves it to the machines.

    Raises:
        InputError: no machine is large enough for one, and none will come.
        CnnjobsError: they die again and again.
    """
    session.check_place(wanted or Wanted())
    rows = rows.select(["path", "label", "size_bytes"])
    done = vain = 0
    reason = None
    while done < rows.num_rows and vain < _MAX_VAIN_STARTS:
        before = done
        try:
            for table in _planned(rows.slice(done), scoring, wanted):
                yield table
                done += table.num_rows
        except RayError as error:
            reason = _reason_of_death(error)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            # a plan that broke off refers to itself: its actors would keep their cores, and its
            # thread would ask a Ray that is gone, at which the process ends on the spot
            gc.collect()
        vain = vain + 1 if done == before else 0
    if done < rows.num_rows:
        first = f"{vain} times in a row before {rows['path'][done]} had a score:"
        if reason is not None:
            raise CnnjobsError(f"no scorer could start, tried {first} {reason}")
        raise CnnjobsError(
            f"what scores died {first} memory may be short, or the file may be the cause; see "
            "Ray's messages, then --resume."
        )


def _reason_of_death(error: RayError) -> str | None:
    """What a scorer raised when it was to start; None of one that died otherwise.

    Raises:
        RayError: the same, if it is none of a death.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error
    if not isinstance(cause, _DEATHS):
        raise error
    if not (isinstance(cause, ActorDiedError) and cause.actor_init_failed):
        return None
    return cause.error_msg.strip().splitlines()[-1].removeprefix("cnnjobs.errors.BundleError: ")


def _planned(rows: pa.Table, scoring: Scoring, wanted: Wanted | None) -> Iterator[pa.Table]:
    """Run the Ray Data plan and pass on its tables."""
    # imported here: it takes half a second, which commands that do not score need not wait
    import ray.data

    from cnnjobs.cluster.ray_data import quiet_and_ordered

    places = session.scorer_places(wanted, memory=_SCORER_BYTES)
    size = rows_per_block(rows.num_rows, scoring, places.number)
    # the first block is one batch, so that it shows soon whether all is well
    starts = [0, *range(scoring.batch_size, rows.num_rows, size), rows.num_rows]
    items = [
        {_ROWS: _packed(rows.slice(start, end - start))}
        for start, end in itertools.pairwise(starts)
    ]
    with quiet_and_ordered(), warnings.catch_warnings():
        # `max_restarts` has no name of its own in `map_batches` yet
        warnings.filterwarnings("ignore", "`ray_remote_args` is", RayDeprecationWarning)
        data: ray.data.Dataset = ray.data.from_items(items, override_num_blocks=len(items))
        if places.decoders:
            data = data.map_batches(
                BlockDecoder,
                fn_constructor_kwargs={"scoring": scoring, "threads": places.decoder_cpus},
                num_cpus=places.decoder_cpus,
                **_pool(places.decoders),
            )
        scored = data.map_batches(
            BlockScorer,
            fn_constructor_kwargs={"scoring": scoring, "threads": places.threads},
            num_cpus=places.num_cpus,
            num_gpus=places.num_gpus,
            memory=places.memory,
            **_pool(places.number),
        )
    predictions = schema.predictions(
        len(scoring.bundles[0].labels), num_models=len(scoring.bundles)
    )
    whole = pa.unify_schemas([predictions, schema.MEASURES])
    # what is fetched ahead holds the first table back until the second is there
    for table in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert isinstance(table, pa.Table)
        yield table.cast(whole)


def _pool(number: int) -> dict[str, Any]:
    """How Ray Data runs processes that work on several whole blocks at once."""
    import ray.data

    return {
        # a block is one row; Ray Data asks for a number where there is a GPU
        "batch_size": 1,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "compute": ray.data.ActorPoolStrategy(
            # those that find their place begin; none waits for a machine that is busy
            min_size=1,
            max_size=number,
            initial_size=number,
            max_tasks_in_flight_per_actor=_BLOCKS_AT_ONCE + _BLOCKS_READY,
            max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
        # Ray would try the same rows for ever, and on a lost machine's place wait for another
        # while those behind them, which must not come first, are lost if the job is stopped
        "max_restarts": 0,
    }


class BlockDecoder:
    """What decodes Ray Data's blocks for scorers on other machines; see `BlockScorer`."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        self._decoder = scoring.decoder(threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        """The block with the images of its rows."""
        images = pickle.dumps(self._decoder.images(_unpacked(block)), protocol=5)
        return block.append_column(_IMAGES, pa.array([images], pa.large_binary()))


class BlockScorer:
    """A scorer of Ray Data's blocks: one row each, which holds rows of a manifest.

    Not the rows themselves: `from_arrow` runs a task for every block only to look at it, before
    the first is scored, for which Ray starts two worker processes.
    """

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        self._scorer = Scorer(scoring, threads=threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score the rows in a block, which may hold their images; see `Scorer`."""
        decoded = None
        if _IMAGES in block.column_names:
            decoded = pickle.loads(block[_IMAGES][0].as_buffer())
        return self._scorer(_unpacked(block), decoded)


def _unpacked(block: pa.Table) -> pa.Table:
    return pa.ipc.open_stream(block[_ROWS][0].as_buffer()).read_all()


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def rows_per_block(num_rows: int, scoring: Scoring, num_scorers: int) -> int:
    """Rows that a scorer takes at once: whole batches, and of a small set some for each scorer."""
    pixels = max(each.preprocessing.height * each.preprocessing.width for each in scoring.bundles)
    batch = scoring.batch_size
    largest = max(_BATCHES_PER_BLOCK, min(_ROWS_PER_BLOCK, _BYTES_PER_BLOCK // pixels) // batch)
    fair = -(-num_rows // (batch * num_scorers * _BLOCKS_AT_ONCE))
    return batch * max(1, min(largest, fair))
