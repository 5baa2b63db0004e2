"""`cnnjobs crossval`: train and test on every fold, and without each source."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.cluster import session, spilling
from cnnjobs.config import CrossvalConfig, as_dict, seeds
from cnnjobs.data import manifest
from cnnjobs.errors import InputError
from cnnjobs.inference import parts, predictions
from cnnjobs.metrics.cross_validation import Estimate
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import run_dir
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import fold_metrics, folds, ray_folds, ray_process, resuming
from cnnjobs.training.crossval_plan import CrossvalPlan, plan
from cnnjobs.training.fold_metrics import FoldResult
from cnnjobs.training.folds import Fold
from cnnjobs.training.ray_folds import Training
from cnnjobs.training.train_plan import described, task_of

#: Settings that do not change the result: locations, resources, retries.
_FREE_SETTINGS = (
    "data", "output", "gpus_per_worker", "max_failures", "parallel", "address", "resume",
    "overwrite", "allowed_root", "figures",
)  # fmt: skip

#: Added to the columns of `schema.predictions`: the training that a row was left out of.
_FOLD_COLUMNS = pa.schema([("repeat", pa.int32()), ("fold", pa.int32()), ("left_out", pa.string())])


@dataclass(frozen=True, kw_only=True)
class CrossvalSummary:
    """Every fold, the estimate of each metric over the folds, and every source left out.

    `not_left_out` says why a source is not among `sources`.
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


def crossval(config: CrossvalConfig, progress: Progress = silent) -> CrossvalSummary:
    """Train and test every fold on images decoded once, and summarize the results.

    Raises:
        InputError: see `crossval_plan.plan`; or the decoded images do not fit in the object store.
        TrainingError: a training failed, or none of its test images could be scored.
    """
    spilling.forget()
    planned = plan(config, progress)
    facts = {
        **planned.folds[0].training.fingerprints,
        "manifest": planned.manifest.fingerprint,
        "cut": folds.digest([each.fold for each in planned.folds]),
    }
    began = time.monotonic()
    run = resuming.find(config, planned.output, "crossval", facts, free=_FREE_SETTINGS)
    if run is None:
        session.check(config.address)
        run = run_dir.start(
            planned.output, "crossval", as_dict(config), spilled_bytes=spilling.reported
        )
    done = parts.check(run.uri, run.seen).entries if run.seen is not None else {}
    with run.writing(**facts, parts=dict(done), seeds=seeds.of_crossval(config)):
        manifest.write(planned.manifest, run.path("manifest.parquet"))
        files = [f"part-{number:05d}.parquet" for number in range(len(planned.folds))]
        missing = [number for number, file in enumerate(files) if file not in done]
        if missing:
            with session.connected(config.address):
                if "threads" not in run.facts:
                    # as many as when all folds are trained, not only those that are missing
                    trainings = len(planned.folds)
                    each = ray_folds.resources_of(config, trainings, config.parallel)
                    run.learn(threads=each.threads)
                for number, table in _tested(planned, missing, run, progress):
                    entry = predictions.write_part(run.uri, files[number], table)
                    run.facts["parts"][files[number]] = entry
        summary = _summarized(planned, files, run, began)
        run.finish(**facts, files=files, summary=summary)
    return summary


def _tested(
    planned: CrossvalPlan, missing: Sequence[int], run: Run, progress: Progress
) -> Iterable[tuple[int, pa.Table]]:
    """The number of each missing fold and its prediction rows, in the order in which they end."""
    chosen = [planned.folds[number] for number in missing]
    first = planned.folds[0].training
    # once for all folds: a user's own model must be built to find its sizes
    architecture = described(first.architecture, planned.config.model, len(first.labels))
    tasks = [
        task_of(
            dataclasses.replace(each.training, architecture=architecture),
            run.path("folds", each.fold.folder),
        )
        for each in chosen
    ]
    all_rows = dataclasses.replace(tasks[0], rows=planned.rows)
    if not ray_process.fits_in_store(all_rows):
        raise InputError(
            f"the decoded images of {planned.config.data} do not fit in Ray's object store, which "
            "the trainings share; use fewer images, or a cluster with more memory."
        )
    trainings = [
        Training(name=each.fold.name, task=task, splits=each.fold.splits)
        for each, task in zip(chosen, tasks, strict=True)
    ]
    tested = ray_folds.run(
        trainings,
        ray_process.decode_once(all_rows, progress),
        parallel=planned.config.parallel,
        threads=run.facts["threads"],
        run_id=run.run_id,
        progress=progress,
    )
    for index, table in tested:
        yield missing[index], _with_fold_columns(table, chosen[index].fold)


def _with_fold_columns(predictions: pa.Table, fold: Fold) -> pa.Table:
    for field, value in zip(_FOLD_COLUMNS, (fold.repeat, fold.number, fold.left_out), strict=True):
        column = pa.repeat(pa.scalar(value, field.type), predictions.num_rows)
        predictions = predictions.append_column(field, column)
    return predictions


def _summarized(
    planned: CrossvalPlan, files: Sequence[str], run: Run, began: float
) -> CrossvalSummary:
    """Measure every fold from its file of predictions, and draw the plot of all."""
    rows = planned.rows
    group_of = dict(zip(rows["path"].to_pylist(), rows["group"].to_pylist(), strict=True))
    results = [
        fold_metrics.measured(
            each.fold,
            predictions.read_whole(run.uri, [file]),
            bundles.read(run.path("folds", each.fold.folder)),
            group_of,
            seed=planned.config.seed,
            calibrate=planned.config.calibrate,
        )
        for each, file in zip(planned.folds, files, strict=True)
    ]
    of_folds = [result for result in results if result.left_out is None]
    without = [result for result in results if result.left_out is not None]
    estimates = fold_metrics.estimates(of_folds, folds=planned.config.folds)
    figures = planned.config.figures
    drawn = fold_metrics.draw(run.path("plots"), of_folds, estimates, without, figures)
    warnings = [line for each in planned.folds for line in each.training.warnings]
    return CrossvalSummary(
        output=run.uri,
        architecture=planned.folds[0].training.architecture.name,
        positive=planned.folds[0].training.positive,
        num_images=rows.num_rows,
        num_groups=pc.count_distinct(rows["group"]).as_py(),
        left_over=planned.left_over,
        folds=of_folds,
        estimates=estimates,
        sources=without,
        not_left_out=planned.not_left_out,
        warnings=list(dict.fromkeys(warnings)),
        plots=drawn,
        seconds=round(time.monotonic() - began, 3),
    )
