"""What `cnnjobs predict` will do, decided before Ray starts: models, images, run to continue."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.cluster import spilling
from cnnjobs.config import PredictConfig
from cnnjobs.data import manifest, manifest_file, sources, streamed
from cnnjobs.data.images import Images, in_pieces
from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import incremental, parts
from cnnjobs.inference.incremental import Update
from cnnjobs.inference.partitions import Partition
from cnnjobs.inference.parts import Books
from cnnjobs.inference.predictor import Scoring, model_name
from cnnjobs.models import bundle as bundles
from cnnjobs.models import external_tests, model_card, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run

#: Settings that change what is written: a run can only be resumed with the same values.
_RESULT_SETTINGS = (
    "split", "engine", "batch_size", "damaged", "any_modality", "max_pixels", "partition_by",
)  # fmt: skip

#: Images that are planned and scored at once: a few hundred bytes each of the driver's memory.
WINDOW = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What a job will do.

    Attributes:
        config: its settings.
        bundles: the models.
        images: all of the data.
        num_images: those of them in the split.
        output: the run directory.
        run: the run to continue, if there is one.
        update: how the data differ from that run, for `--update`.
        done: what that run has written.
        num_done: rows of it that stay.
        doubts: reasons not to rely on the scores, see `model_card.doubts`.
        external: results of tests on other collections; see `external_tests.sentence`.
    """

    config: PredictConfig
    bundles: Sequence[Bundle]
    images: Images
    num_images: int
    output: str
    run: Run | None = None
    update: Update | None = None
    done: Books = field(default_factory=Books)
    num_done: int = 0
    doubts: Sequence[str] = ()
    external: Sequence[str] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The part of `--dry-run` that needs no scoring."""
        return {
            "images": self.num_images,
            "ignored files": self.images.settings.get("ignored", {}),
            "model": model_name(self.bundles),
            "labels": list(self.bundles[0].labels),
            "positive": self.bundles[0].positive,
            "output": self.output,
            "update": None if self.update is None else self.update.counts,
            "missing parts": list(self.done.missing),
            "doubts": list(self.doubts),
            "external": list(self.external),
        }

    @property
    def fingerprints(self) -> dict[str, Any]:
        """Of the inputs: a run can only be resumed with the same images and models."""
        return {"manifest": self.images.fingerprint, **bundles.identity(self.bundles)}

    @property
    def is_done(self) -> bool:
        """Whether the run is finished, and has the rows of these data."""
        if self.run is None or not run_dir.is_finished(self.run.uri) or self.done.missing:
            return False
        is_same = self.images.fingerprint == _listed_in(self.run)
        return self.update is None or (self.update.is_empty and is_same)

    @property
    def partition(self) -> Partition | None:
        """The folders of the parts."""
        by = self.config.partition_by
        return None if by is None else Partition(by=by, roots=self.images.settings["sources"])

    def windows(self) -> Iterator[pa.Table]:
        """Path, label, size and ETag of the images without a row, or that are to get a new one.

        In manifest order, in windows of about the same size: a small last one might consist of
        images that cannot be read for a while. All but the last consist of whole batches.
        """
        number = math.ceil(self.num_left / WINDOW) or 1
        batches = math.ceil(self.num_left / number / self.config.batch_size) or 1
        return in_pieces(self._left(), batches * self.config.batch_size)

    @property
    def num_left(self) -> int:
        """How many images the windows have."""
        return self.num_images - self.num_done

    def _left(self) -> Iterator[pa.Table]:
        columns = ("path", "label", "size_bytes", "etag")
        for rows, found in self.done.matched(self.images.rows(self.config.split, columns)):
            paths = found["path"]
            if self.update is not None:
                paths = paths.filter(pc.invert(pc.is_in(paths, value_set=self.update.dropped)))
            yield rows.filter(pc.invert(pc.is_in(rows["path"], value_set=paths)))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that must be the same, too, when a run is resumed."""
        return {name: getattr(self.config, name) for name in _RESULT_SETTINGS}

    def scoring(self, run_id: str) -> Scoring:
        """How to score; `backends.choose_engine` replaces the engine `auto`."""
        config = self.config
        indexed_any = bool(self.images.settings.get("any_modality"))
        return Scoring(
            bundles=self.bundles,
            engine=config.engine,
            batch_size=config.batch_size,
            run_id=run_id,
            policy=Policy(
                keep_damaged=config.damaged == "score",
                any_modality=config.any_modality or indexed_any,
                max_bytes=config.max_bytes,
            ),
            image_timeout=config.image_timeout,
        )


def plan(config: PredictConfig, progress: Progress = silent) -> PredictPlan:
    """Read the bundles and the manifest, and check the output; leaves nothing behind.

    Raises:
        InputError: one of them is unusable.
    """
    s3.use(**config.s3)
    models = _read_bundles(config)
    doubts = [doubt for each in models for doubt in model_card.doubts(each)]
    if config.require_evaluated and doubts:
        raise InputError(f"{doubts[0]}; require_evaluated rejects it.")
    untested = [reason for reason in map(external_tests.missing, models) if reason is not None]
    if config.require_external and untested:
        raise InputError(f"{untested[0]}; require_external rejects it.")
    output = filesystem.normalize(config.output)
    given = [config.bundle, *config.bundles]
    apart.check(output, [*given, *(each.uri for each in models), config.data])
    images = streamed.open_images(config.data, **config.chosen, progress=progress)
    images.check_apart(output)
    planned = PredictPlan(
        config=config,
        bundles=models,
        images=images,
        num_images=images.count(config.split),
        output=output,
        doubts=doubts,
        external=[
            external_tests.sentence(test) for each in models for test in external_tests.read(each)
        ],
    )
    if config.resume:
        planned = _with_resumed_run(planned)
    if config.update:
        planned = _with_updated_run(planned)
    if config.metrics_file is not None:
        filesystem.check_writable(filesystem.normalize(config.metrics_file).rpartition("/")[0])
    if planned.run is None:
        run_dir.check_free(output, "predict", overwrite=config.overwrite, resumable=True)
    return planned


def _read_bundles(config: PredictConfig) -> list[Bundle]:
    """The models, all with the same classes."""
    models = [
        openvino_export.at_precision(
            bundles.read(uri, expect=config.expect), config.precision, expect=config.expect
        )
        for uri in (config.bundle, *config.bundles)
    ]
    first = models[0]
    for other in models[1:]:
        if (other.labels, other.positive) != (first.labels, first.positive):
            raise InputError(
                f"the models of an ensemble must have the same classes: {first.name} has "
                f"{_classes(first)}, {other.name} has {_classes(other)}."
            )
    if config.max_pixels is None:
        return models
    return [
        dataclasses.replace(
            each,
            preprocessing=dataclasses.replace(each.preprocessing, max_pixels=config.max_pixels),
        )
        for each in models
    ]


def _classes(bundle: Bundle) -> str:
    positive = f" (positive {bundle.positive})" if bundle.positive is not None else ""
    return f"{', '.join(bundle.labels)}{positive}"


def _with_resumed_run(planned: PredictPlan) -> PredictPlan:
    """The plan with the run to continue, if there is one."""
    run = _find_run(planned)
    if run is None:
        return planned
    if _listed_in(run) not in (None, planned.images.fingerprint):
        raise RunExistsError(
            f"the data have changed since the run in {run.uri} began{_changes(run, planned)}; take "
            "that in with --update, or choose another directory."
        )
    done = _done(run)
    return dataclasses.replace(planned, run=run, done=done, num_done=done.num_rows)


def _with_updated_run(planned: PredictPlan) -> PredictPlan:
    """The plan with the run to update, if there is one, and the images of run and data."""
    run = _find_run(planned)
    if run is None:
        return planned
    before = manifest_file.opened(run.path("manifest.parquet"))
    excluded = tuple(run.config.get("exclude", ()))
    if excluded != planned.config.exclude:
        raise InputError(
            f"{run.uri} was made with exclude {', '.join(excluded) or 'nothing'}, is now to be "
            f"updated with {', '.join(planned.config.exclude) or 'nothing'}; give the same."
        )
    split, done = planned.config.split, _done(run)
    update, merged = incremental.merge(
        before,
        planned.images,
        done,
        data=planned.config.data,
        split=split,
        classes=planned.bundles[0].labels,
        gone=planned.config.gone,
    )
    return dataclasses.replace(
        planned,
        run=run,
        update=update,
        images=merged,
        num_images=merged.count(split),
        done=done,
        num_done=done.num_rows - update.num_dropped,
    )


def _find_run(planned: PredictPlan) -> Run | None:
    """The run in the output, which has the same model and settings; None if there is none."""
    same = {"model": model_name(planned.bundles), **planned.settings}
    recorded = (run_dir.read_record(planned.output) or {}).get("model")
    if bundles.are_named(planned.bundles, recorded):
        same["model"] = recorded
    return run_dir.find_same(planned.output, "predict", same, spilled_bytes=spilling.reported)


def _done(run: Run) -> Books:
    """What a run has written, checked against its record."""
    return parts.check(run.uri, run.seen or {})


def _listed_in(run: Run) -> str | None:
    """Fingerprint of the run's manifest; None if it was stopped before it had one."""
    return (run.seen or {}).get("manifest")


def _changes(run: Run, planned: PredictPlan) -> str:
    """How the data differ from the run's, in parentheses; of more than a window it is not said."""
    if planned.images.count("all") > WINDOW:
        return ""
    config = planned.config
    now = sources.open_data(config.data, for_training=False, **config.chosen)
    changes = manifest.changes(manifest.read(run.path("manifest.parquet")).table, now.table)
    counts = {name: len(paths) for name, paths in vars(changes).items() if len(paths)}
    what = ", ".join(f"{number} {name}" for name, number in counts.items())
    return f" ({what or 'labels, groups or splits'})"
