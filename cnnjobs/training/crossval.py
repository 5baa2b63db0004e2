"""`cnnjobs crossval`: train and test on every fold, and without every source."""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import models
from cnnjobs.cluster import session, spilling
from cnnjobs.config import CrossvalConfig, as_dict
from cnnjobs.config.constants import TEST, TRAIN, VALIDATION
from cnnjobs.data import manifest, sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.metrics.cross_validation import Estimate
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import fold_metrics, folds, ray_folds, ray_trainer
from cnnjobs.training import train as training
from cnnjobs.training.fold_metrics import FoldResult
from cnnjobs.training.folds import Fold
from cnnjobs.training.ray_folds import Training
from cnnjobs.training.train import TrainPlan

#: Settings that say where and how often to try, not what comes out.
_FREE_SETTINGS = (
    "data", "output", "gpus_per_worker", "max_failures", "parallel", "address", "resume",
    "overwrite",
)  # fmt: skip

#: Beside the columns of `schema.predictions`: which training a row was not in.
_FOLD_COLUMNS = pa.schema([("repeat", pa.int32()), ("fold", pa.int32()), ("left_out", pa.string())])

PLOT = "crossval.png"


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """One training and its test, and what is to be trained for it."""

    fold: Fold
    base: TrainPlan


@dataclass(frozen=True, kw_only=True)
class CrossvalPlan:
    """What would be trained and tested, decided before Ray starts.

    `rows` are those with a label that can be read; `left_over` counts the others.
    """

    config: CrossvalConfig
    manifest: Manifest
    rows: pa.Table
    left_over: Mapping[str, int]
    folds: Sequence[FoldPlan]
    not_left_out: Mapping[str, str]
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            **self.folds[0].base.facts,
            "images": self.rows.num_rows,
            "left over": dict(self.left_over),
            "trainings": {each.fold.name: dict(_sizes(each.fold)) for each in self.folds},
            "not left out": dict(self.not_left_out),
            "output": self.output,
        }


@dataclass(frozen=True, kw_only=True)
class CrossvalSummary:
    """Every fold, and over them the estimate of each metric; then every source left out.

    `not_left_out` says why a source is not among the latter.
    """

    output: str
    architecture: str
    positive: str | None
    num_images: int
    num_groups: int
    left_over: Mapping[str, int]
    folds: Sequence[FoldResult]
    estimates: Mapping[str, Estimate]
    sources: Sequence[FoldResult]
    not_left_out: Mapping[str, str]
    warnings: Sequence[str]
    plots: Sequence[str]
    seconds: float


def plan(config: CrossvalConfig, progress: Progress = silent) -> CrossvalPlan:
    """Read the data and decide what trains and tests what; writes nothing.

    Raises:
        InputError: too few groups, or one source; see also `train.plan_on`.
    """
    s3.use(**config.s3)
    architecture = models.find(config.model)
    output = filesystem.normalize(config.output)
    if not (config.resume and run_dir.read_record(output)):
        run_dir.check_free(output, overwrite=config.overwrite, resumable=True)
    images = sources.open_data(config.data, split=False, progress=progress)
    is_labelled, is_readable = (
        pc.is_valid(images.table["label"]),
        pc.is_null(images.table["error"]),
    )
    rows = images.table.filter(pc.and_(is_labelled, is_readable)).combine_chunks()
    if not rows.num_rows:
        raise InputError(
            f"{config.data} has no images with a label that can be read; put the images of each "
            "class in a folder of its own."
        )
    made: list[Fold] = []
    refused: Mapping[str, str] = {}
    if config.folds:
        made += folds.cut(
            rows,
            folds=config.folds,
            repeats=config.repeats,
            validation=config.validation,
            seed=config.seed,
        )
    if config.leave_out is not None:
        without, refused = folds.leave_out(rows, validation=config.validation, seed=config.seed)
        made += without
    return CrossvalPlan(
        config=config,
        manifest=images,
        rows=rows,
        left_over=_left_over(is_labelled, is_readable),
        folds=[
            FoldPlan(
                fold=fold,
                base=training.plan_on(
                    _split_anew(rows, fold, images),
                    dataclasses.replace(config, seed=config.seed + (fold.repeat or 1) - 1),
                    architecture,
                    output,
                ),
            )
            for fold in made
        ],
        not_left_out=refused,
        output=output,
    )


def crossval(config: CrossvalConfig, progress: Progress = silent) -> CrossvalSummary:
    """Decode the images once, train and test every fold on them, and sum up.

    Raises:
        InputError: see `plan`; or the decoded images do not fit in the object store.
        TrainingError: a training failed, or none of its test images could be scored.
    """
    spilling.forget()
    planned = plan(config, progress)
    facts = {
        "manifest": planned.manifest.fingerprint,
        "cut": folds.digest([each.fold for each in planned.folds]),
    }
    began = time.monotonic()
    run = _resumed(planned, facts)
    if run is None:
        session.check(config.address)
        run = run_dir.start(
            planned.output, "crossval", as_dict(config), spilled_bytes=spilling.reported
        )
    run_dir.reopen(run.uri)
    with run.failing_recorded(**facts):
        manifest.write(planned.manifest, run.path("manifest.parquet"))
        parts = [f"part-{place:05d}.parquet" for place in range(len(planned.folds))]
        files = [run.path("predictions", part) for part in parts]
        missing = [place for place, file in enumerate(files) if not filesystem.exists(file)]
        if missing:
            with session.connected(config.address):
                for place, predictions in _tested(planned, missing, run, progress):
                    filesystem.write_table(files[place], predictions)
        results = [
            _result(each.fold, file, planned, run)
            for each, file in zip(planned.folds, files, strict=True)
        ]
        of_folds = [each for each in results if each.left_out is None]
        without = [each for each in results if each.left_out is not None]
        estimates = fold_metrics.estimates(of_folds, folds=config.folds)
        drawn = fold_metrics.drawn(of_folds, estimates, without)
        if drawn is not None:
            filesystem.write_bytes(run.path("plots", PLOT), drawn)
        summary = CrossvalSummary(
            output=run.uri,
            architecture=planned.folds[0].base.architecture.name,
            positive=planned.folds[0].base.positive,
            num_images=planned.rows.num_rows,
            num_groups=pc.count_distinct(planned.rows["group"]).as_py(),
            left_over=planned.left_over,
            folds=of_folds,
            estimates=estimates,
            sources=without,
            not_left_out=planned.not_left_out,
            warnings=list(
                dict.fromkeys(told for each in planned.folds for told in each.base.warnings)
            ),
            plots=[PLOT] if drawn is not None else [],
            seconds=round(time.monotonic() - began, 3),
        )
        run.finish(**facts, files=parts, summary=summary)
    return summary


def _split_anew(rows: pa.Table, fold: Fold, images: Manifest) -> Manifest:
    place = rows.column_names.index("split")
    column = pa.array(fold.splits, pa.string())
    return Manifest(rows.set_column(place, "split", column), images.settings)


def _left_over(is_labelled: pa.ChunkedArray, is_readable: pa.ChunkedArray) -> dict[str, int]:
    counts = {
        "unreadable": pc.sum(pc.invert(is_readable)).as_py() or 0,
        "no label": pc.sum(pc.and_(is_readable, pc.invert(is_labelled))).as_py() or 0,
    }
    return {why: number for why, number in counts.items() if number}


def _sizes(fold: Fold) -> Mapping[str, int]:
    counts = Counter(fold.splits)
    return {split: counts[split] for split in (TRAIN, VALIDATION, TEST)}


def _resumed(planned: CrossvalPlan, facts: Mapping[str, Any]) -> Run | None:
    """The run to go on with, if that is asked for and there is one."""
    if not planned.config.resume:
        return None
    settings = {
        key: value for key, value in as_dict(planned.config).items() if key not in _FREE_SETTINGS
    }
    return run_dir.find_same(
        planned.output, "crossval", {**settings, **facts}, spilled_bytes=spilling.reported
    )


def _tested(
    planned: CrossvalPlan, missing: Sequence[int], run: Run, progress: Progress
) -> Iterable[tuple[int, pa.Table]]:
    """The place of each missing training and its prediction rows, in the order they end."""
    chosen = [planned.folds[place] for place in missing]
    tasks = [training.task_of(each.base, run.path("folds", each.fold.folder)) for each in chosen]
    every = dataclasses.replace(tasks[0], rows=planned.rows)
    if not ray_trainer.fits_in_store(every):
        raise InputError(
            f"the decoded images of {planned.config.data} do not fit in Ray's object store, where "
            "trainings share them; take a part of them, or a cluster with more memory."
        )
    trainings = [
        Training(name=each.fold.name, task=task, splits=each.fold.splits)
        for each, task in zip(chosen, tasks, strict=True)
    ]
    tested = ray_folds.run(
        trainings,
        ray_trainer.decoded_once(every, progress),
        parallel=planned.config.parallel,
        run_id=run.run_id,
        progress=progress,
    )
    for number, predictions in tested:
        yield missing[number], _named(predictions, chosen[number].fold)


def _named(predictions: pa.Table, fold: Fold) -> pa.Table:
    """The rows with the columns that tell which training they are of."""
    for field, value in zip(_FOLD_COLUMNS, (fold.repeat, fold.number, fold.left_out), strict=True):
        column = pa.repeat(pa.scalar(value, field.type), predictions.num_rows)
        predictions = predictions.append_column(field, column)
    return predictions


def _result(fold: Fold, file: str, planned: CrossvalPlan, run: Run) -> FoldResult:
    rows = planned.rows
    return fold_metrics.measured(
        fold,
        pq.read_table(pa.BufferReader(filesystem.read_file(file))),
        bundles.read(run.path("folds", fold.folder)),
        dict(zip(rows["path"].to_pylist(), rows["group"].to_pylist(), strict=True)),
        seed=planned.config.seed,
    )
