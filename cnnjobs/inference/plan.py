"""What `cnnjobs predict` would do, decided before Ray starts: models, images, run to go on with."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cnnjobs.cluster import spilling
from cnnjobs.cluster.resources import Wanted
from cnnjobs.config import PredictConfig
from cnnjobs.data import manifest, sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import incremental, predictions
from cnnjobs.inference.incremental import Update
from cnnjobs.inference.predictor import Scoring, model_name
from cnnjobs.inference.ray_pipeline import with_engine
from cnnjobs.models import bundle as bundles
from cnnjobs.models import model_card
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run

#: Settings that change what is written; a run is resumed with the same ones or not at all.
_RESULT_SETTINGS = (
    "split", "engine", "batch_size", "damaged", "any_modality", "max_pixels", "partition_by",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What a job would do, decided before Ray starts.

    Attributes:
        config: its settings.
        bundles: the models.
        manifest: the images.
        rows: of the manifest, those of the split.
        output: the run directory.
        run: the run to go on with, if there is one.
        update: what is otherwise in the data than in that run, if that was asked for.
        doubts: why nobody should rely on the scores, a line a model; see `evidence.doubt`.
    """

    config: PredictConfig
    bundles: Sequence[Bundle]
    manifest: Manifest
    rows: pa.Table
    output: str
    run: Run | None = None
    update: Update | None = None
    doubts: Sequence[str] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells without scoring."""
        return {
            "images": self.rows.num_rows,
            "ignored files": self.manifest.settings.get("ignored", {}),
            "model": model_name(self.bundles),
            "labels": list(self.bundles[0].labels),
            "positive": self.bundles[0].positive,
            "output": self.output,
            "update": None if self.update is None else self.update.counts,
            "doubts": list(self.doubts),
        }

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of what goes in: a run is resumed with the same, or not at all."""
        return {"manifest": self.manifest.fingerprint, "model": model_name(self.bundles)}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that change what is written: they must be the same, too."""
        return {name: getattr(self.config, name) for name in _RESULT_SETTINGS}

    @property
    def wanted(self) -> Wanted:
        """How many processes score, and with what."""
        config = self.config
        return Wanted(
            number=config.actors, num_cpus=config.cpus_per_actor, num_gpus=config.gpus_per_actor
        )

    def scoring(self, run_id: str, *, may_export: bool = True) -> Scoring:
        """How to score, with an engine that the machines and the bundles have.

        Needs a connected Ray. `may_export` lets a model without an export get one.
        """
        config = self.config
        # also where an autoscaler has yet to bring the GPU that was asked for
        on_gpu = config.engine == "auto" and config.gpus_per_actor is not None
        indexed_any = bool(self.manifest.settings.get("any_modality"))
        return with_engine(
            Scoring(
                bundles=self.bundles,
                engine="keras" if on_gpu else config.engine,
                batch_size=config.batch_size,
                run_id=run_id,
                policy=Policy(
                    keep_damaged=config.damaged == "score",
                    any_modality=config.any_modality or indexed_any,
                ),
            ),
            may_export=may_export,
        )


def plan(config: PredictConfig, progress: Progress = silent) -> PredictPlan:
    """Read the bundles and the manifest and check the output; writes nothing that stays.

    Raises:
        InputError: one of them cannot be used.
    """
    s3.use(**config.s3)
    several = _read_bundles(config)
    doubts = [told for told in map(model_card.doubt, several) if told is not None]
    if config.require_evaluated and doubts:
        raise InputError(f"{doubts[0]}; require_evaluated refuses it.")
    images = sources.open_data(config.data, for_training=False, progress=progress)
    rows = images.select(config.split)
    planned = PredictPlan(
        config=config,
        bundles=several,
        manifest=images,
        rows=rows,
        output=filesystem.normalize(config.output),
        doubts=doubts,
    )
    if config.resume:
        planned = _resuming(planned)
    if config.update:
        planned = _updating(planned)
    if planned.run is None:
        run_dir.check_free(planned.output, overwrite=config.overwrite, resumable=True)
    return planned


def _read_bundles(config: PredictConfig) -> list[Bundle]:
    """The models, which must have the same classes."""
    several = [bundles.read(uri) for uri in (config.bundle, *config.bundles)]
    first = several[0]
    for other in several[1:]:
        if (other.labels, other.positive) != (first.labels, first.positive):
            raise InputError(
                f"models of one ensemble must have the same classes: {first.name} has "
                f"{_classes(first)}, {other.name} has {_classes(other)}."
            )
    if config.max_pixels is None:
        return several
    return [
        dataclasses.replace(
            each,
            preprocessing=dataclasses.replace(each.preprocessing, max_pixels=config.max_pixels),
        )
        for each in several
    ]


def _classes(bundle: Bundle) -> str:
    positive = f" (positive {bundle.positive})" if bundle.positive is not None else ""
    return f"{', '.join(bundle.labels)}{positive}"


def _resuming(planned: PredictPlan) -> PredictPlan:
    """The plan with the run to go on with, if there is one."""
    run = run_dir.find_same(
        planned.output,
        "predict",
        {**planned.fingerprints, **planned.settings},
        spilled_bytes=spilling.reported,
    )
    return dataclasses.replace(planned, run=run)


def _updating(planned: PredictPlan) -> PredictPlan:
    """The plan with the run to update, if there is one, and the images of both."""
    same = {"model": model_name(planned.bundles), **planned.settings}
    run = run_dir.find_same(planned.output, "predict", same, spilled_bytes=spilling.reported)
    if run is None:
        return planned
    before = manifest.read(run.path("manifest.parquet"))
    rows = predictions.read(run.uri, predictions.files(run.uri), ["path", "error"])
    update, merged = incremental.merge(before, planned.manifest, rows)
    chosen = merged.select(planned.config.split)
    return dataclasses.replace(planned, run=run, update=update, manifest=merged, rows=chosen)
