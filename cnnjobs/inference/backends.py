"""Where a job scores: on Ray, or in a process of its own on this machine.

A Ray of one's own takes seconds to start and a share of the cores while it runs. It gains nothing
for a job that this machine does alone, as long as the job is small enough to be watched without
Ray's dashboard and metrics.
"""

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa

from cnnjobs.cluster import presence
from cnnjobs.config import EvaluateConfig, PredictConfig
from cnnjobs.inference import source_watch, supervision
from cnnjobs.inference.predictor import Scoring
from cnnjobs.inference.reports import Metric
from cnnjobs.inference.source_watch import SourceWatch
from cnnjobs.inference.supervision import Pool
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.openvino_export import Export

#: Of a manifest, what scoring reads.
_COLUMNS = ("path", "label", "size_bytes", "etag")

#: Images up to which a job does without Ray if it can.
MAX_WITHOUT_RAY = 20_000


class Backend(Protocol):
    """Where a job scores.

    Attributes:
        has_gpu: whether it scores on GPUs.
        object_store_bytes: size of Ray's object store; None without Ray.
    """

    @property
    def has_gpu(self) -> bool: ...
    @property
    def object_store_bytes(self) -> int | None: ...

    def export(self, bundle: Bundle) -> Export:
        """Export a model to OpenVINO, which imports TensorFlow: not in this process."""

    def check(self, bundle: Bundle) -> float | None:
        """Compare a model's export with Keras, likewise; see `openvino_export.check`."""

    def publish(self, run: str, metrics: Sequence[Metric]) -> None:
        """Show the metrics of a run among Ray's, for Prometheus, if there is a Ray."""

    def pool(self, scoring: Scoring) -> Pool:
        """Processes that score.

        Raises:
            InputError: no machine is large enough for one.
        """


@contextmanager
def started(config: PredictConfig | EvaluateConfig, num_images: int) -> Iterator[Backend]:
    """The backend for a job of so many images, which ends with the block.

    Raises:
        InputError: no Ray answers at the job's address.
        CnnjobsError: a process or a machine of Ray failed; see `ray_errors`.
    """
    if not needs_ray(config, num_images):
        from cnnjobs.inference.child_process import ChildBackend

        yield ChildBackend()
        return
    from cnnjobs.cluster import session
    from cnnjobs.cluster.resources import Request
    from cnnjobs.inference.ray_pipeline import RayBackend

    actors = Request()
    if isinstance(config, PredictConfig):
        actors = Request(
            number=config.actors, num_cpus=config.cpus_per_actor, num_gpus=config.gpus_per_actor
        )
    with session.connected(config.address):
        yield RayBackend(actors)


def check(config: PredictConfig | EvaluateConfig, num_images: int) -> None:
    """Check that a Ray answers, if the job needs one; see `session.check`."""
    if needs_ray(config, num_images):
        from cnnjobs.cluster import session

        session.check(config.address)


def needs_ray(config: PredictConfig | EvaluateConfig, num_images: int) -> bool:
    """Whether the job scores on Ray: it is large, or Ray or GPUs are there, or it asks for them."""
    asks = isinstance(config, PredictConfig) and (
        (config.actors, config.cpus_per_actor, config.gpus_per_actor) != (None, None, None)
    )
    return num_images > MAX_WITHOUT_RAY or asks or presence.is_needed(config.address)


def choose_engine(
    backend: Backend, scoring: Scoring, *, may_export: bool = True, check_exports: bool = False
) -> Scoring:
    """Replace the engine `auto` by openvino or keras.

    OpenVINO without GPUs if every model has an export, or in another precision than float32;
    otherwise Keras.

    Args:
        backend: where it will run.
        scoring: how to score.
        may_export: whether to export a model that has no export yet into its bundle, which must not
            be sealed.
        check_exports: whether to compare the exports with Keras first.

    Raises:
        BundleError: an export is not the model's.
    """
    if any(bundle.precision != "fp32" for bundle in scoring.bundles):
        scoring = dataclasses.replace(scoring, engine="openvino")
    if scoring.engine == "keras" or (scoring.engine == "auto" and backend.has_gpu):
        return dataclasses.replace(scoring, engine="keras")
    for bundle in scoring.bundles:
        export = openvino_export.find(bundle)
        if export is not None and check_exports:
            backend.check(bundle)
        if export is None and may_export and not bundle.is_sealed:
            export = backend.export(bundle)
        if scoring.engine == "auto" and (export is None or export.refused is not None):
            return dataclasses.replace(scoring, engine="keras")
    return dataclasses.replace(scoring, engine="openvino")


def score(
    backend: Backend, rows: pa.Table, scoring: Scoring, watch: SourceWatch | None = None
) -> Generator[pa.Table, None, None]:
    """Score rows of a manifest; see `supervision.score`.

    Args:
        backend: where.
        rows: of the manifest.
        scoring: how to score, with its engine chosen.
        watch: what to take for a failure of the source; None for the usual.

    Raises:
        InputError: no machine is large enough.
    """
    # the ETag says where in an archive an image is
    rows = rows.select([name for name in _COLUMNS if name in rows.column_names])
    scoring = dataclasses.replace(scoring, samples=source_watch.readable_samples(rows))
    watch = watch or SourceWatch(rows.num_rows)
    yield from supervision.score(rows, scoring, backend.pool(scoring), watch)
