"""`cnnjobs predict`: score every image of a manifest and write one Parquet row per image."""

import dataclasses
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.cluster import spilling
from cnnjobs.config import PredictConfig, as_dict
from cnnjobs.errors import CnnjobsError, SourceError, TooManyBadImages
from cnnjobs.inference import backends, parts, predictions
from cnnjobs.inference.backends import Backend
from cnnjobs.inference.parts import Books
from cnnjobs.inference.plan import PredictPlan, plan
from cnnjobs.inference.predictor import Scoring, model_name
from cnnjobs.inference.reports import MetricsFile, ProgressFile, metrics
from cnnjobs.inference.run_stats import Tally
from cnnjobs.inference.source_watch import SourceWatch
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import run_dir
from cnnjobs.storage.run_dir import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a job did; `indexed` is the sum of `scored`, `failed`, `skipped` and `left`.

    All figures are for this session, except `skipped`: rows that an earlier session of the same
    run wrote.

    Attributes:
        ignored: files in the data that are not images, by suffix.
        left: images not scored because too many failed.
        stages: each stage's share of the time of all stages, which run at once.
        doubts: reasons not to rely on the scores; see `model_card.doubts`.
        external: results of tests on other collections.
        lost_parts: files of predictions that were gone; their images were scored again.
        too_many_bad: set if more images failed than `max_errors` allows.
    """

    output: str
    run_id: str
    model: str
    engine: str | None = None
    indexed: int
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scored: int = 0
    failed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    skipped: int
    left: int = 0
    predictions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    warnings: int = 0
    histogram: Sequence[int] | None = None
    seconds: float = 0.0
    seconds_to_first: float | None = None
    images_per_second: float = 0.0
    steady_images_per_second: float = 0.0
    stages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    retries: int = 0
    peak_memory_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    update: Mapping[str, int] | None = None
    doubts: Sequence[str] = ()
    external: Sequence[str] = ()
    lost_parts: Sequence[str] = ()
    already_finished: bool = False
    too_many_bad: str | None = None


def predict(config: PredictConfig, progress: Progress = silent) -> PredictSummary:
    """Score every image of the data; each gets one row, with a score or an error.

    Rows are in the manifest's order, in `predictions/part-*.parquet`. A part is complete or
    absent, so a stopped run continues after its last part (`resume`).

    Raises:
        InputError: the bundle, the data or the output is unusable.
        SourceError: the images cannot be read any more; the rows written so far are kept.
        CnnjobsError: the parts do not contain every image exactly once.
    """
    spilling.forget()
    planned = plan(config, progress)
    run, update = planned.run, planned.update
    if run is not None and planned.is_done:
        return _nothing_to_do(planned, run)
    if run is None:
        backends.check(config, planned.num_images)
        run = run_dir.start(
            planned.output, "predict", as_dict(config), spilled_bytes=spilling.reported
        )
    # the manifest's fingerprint changes with the manifest
    known = {**planned.fingerprints, "manifest": (run.seen or planned.fingerprints)["manifest"]}
    with run.writing(**known, parts=planned.done.entries):
        writer = predictions.Writer(
            run.uri,
            planned.done.entries,
            rows_per_file=config.rows_per_file,
            partition=planned.partition,
        )
        # recorded however the job ends
        run.facts["parts"] = writer.entries
        if update is not None and len(update.revised):
            # before the manifest changes: a run stopped in between has rows left to score, but
            # none for an older version of an image
            parts.rewrite(run, planned.done.parts_with(update.revised), update.revise, writer)
            done = dataclasses.replace(_books(run), missing=planned.done.missing)
            planned = dataclasses.replace(planned, done=done)
        planned.images.write(run.path("manifest.parquet"))
        run.learn(**planned.fingerprints)
        return _score_and_write(planned, run, writer, progress)


def judge(summary: PredictSummary) -> None:
    """Raise TooManyBadImages if more images failed than the job allows."""
    if summary.too_many_bad is not None:
        raise TooManyBadImages(summary.too_many_bad, summary)


def _score_and_write(
    planned: PredictPlan, run: Run, writer: predictions.Writer, progress: Progress
) -> PredictSummary:
    config, total = planned.config, planned.num_images
    tally = Tally(total, done_before=planned.num_done)
    progress_file = ProgressFile(run.path("progress.jsonl"))
    metrics_file = MetricsFile(config.metrics_file, run.uri)
    allowed = config.max_bad_images(total)
    failed_before = planned.done.failed
    engine = None
    progress("predict", planned.num_done, total, "starting")
    _log.info("run %s: %d images, %d have a row", run.run_id, total, planned.num_done)
    if planned.num_left:
        with backends.started(config, planned.num_left) as backend:
            scoring = backends.choose_engine(
                backend, planned.scoring(run.run_id), check_exports=config.require_evaluated
            )
            engine = scoring.engine
            _log.info("scoring with %s", engine)
            watch = _watch(planned)
            with (
                _stopping(planned, run, writer, watch),
                closing(_scored(planned, backend, scoring, watch)) as tables,
                writer,
            ):
                for table in tables:
                    tally.add(table)
                    is_part = writer.add(table.drop_columns(schema.MEASURES.names))
                    facts = tally.facts()
                    progress_file.add(facts)
                    numbers = metrics(facts, failed_before + tally.failed)
                    metrics_file.write(numbers)
                    backend.publish(run.uri, numbers)
                    progress("predict", facts["done"], total, _note(facts))
                    bad = failed_before.total() + tally.failed.total()
                    if is_part and allowed is not None and bad > allowed:
                        break
    tally.add_writing(writer.seconds)
    progress_file.add(tally.facts(), last=True)
    metrics_file.write(metrics(tally.facts(), failed_before + tally.failed), last=True)
    summary = _summary(planned, run, tally, engine)
    _check_complete(planned, run, summary)
    names = list(writer.entries)
    if not summary.left and (config.csv or predictions.has_csv(run.uri)):
        predictions.write_csv(run.uri, names)
    facts = {"rows": _row_counts(summary), "files": names}
    if summary.left:
        run.record("stopped", **facts, summary=summary)
    else:
        run.finish(**facts, summary=summary)
    return summary


def _scored(
    planned: PredictPlan, backend: Backend, scoring: Scoring, watch: SourceWatch
) -> Generator[pa.Table, None, None]:
    """Score window by window, so that neither this process nor Ray's plan grows with the job."""
    for window in planned.windows():
        yield from backends.score(backend, window, scoring, watch)
        del window  # before the next one is read


def _watch(planned: PredictPlan) -> SourceWatch:
    again = [] if planned.update is None else planned.update.again.to_pylist()
    return SourceWatch(
        planned.num_images,
        done=planned.num_done,
        lenient=planned.config.max_errors is not None,
        known=again,
    )


@contextmanager
def _stopping(
    planned: PredictPlan, run: Run, writer: predictions.Writer, watch: SourceWatch
) -> Iterator[None]:
    """If the images cannot be read any more, leave those that may have failed by that to score."""
    try:
        yield
    except SourceError as error:
        suspects = pa.array(watch.suspects, pa.string())

        def certain(table: pa.Table) -> pa.Table:
            return table.filter(pc.invert(pc.is_in(table["path"], value_set=suspects)))

        parts.rewrite(run, _books(run).parts_with(suspects), certain, writer)
        num_rows = sum(entry["rows"] for entry in writer.entries.values())
        way = "--update" if planned.config.update else "--resume"
        raise SourceError(
            f"{error}; {num_rows} of {planned.num_images} rows are in {run.uri}; restore access "
            f"to the images, then continue with {way} (if they are to stay as errors, with "
            "--max-errors 100% as well)."
        ) from error


def _note(facts: Mapping[str, Any]) -> str:
    return f"{facts['images_per_second']:.0f}/s, {facts['failed']} bad"


def _check_complete(planned: PredictPlan, run: Run, summary: PredictSummary) -> None:
    """Check that every image has one row, by reading back what is in the folder."""
    books = _books(run)
    num_known = num_images = 0
    for _, rows in books.matched(planned.images.rows(planned.config.split, ["path"])):
        num_known += rows.num_rows
        num_images += pc.count_distinct(rows["path"]).as_py()
    counted = summary.scored + sum(summary.failed.values()) + summary.skipped
    if (
        books.num_rows != num_images
        or books.num_rows != num_known
        or counted != books.num_rows
        or (counted + summary.left != summary.indexed)
    ):
        raise CnnjobsError(
            f"{run.uri} has {books.num_rows} rows for {num_images} images, but {counted} were "
            f"scored and {summary.indexed} are in the manifest; report this, and start over with "
            "--overwrite."
        )


def _books(run: Run) -> Books:
    """What the run has written so far, read back."""
    return parts.check(run.uri, {"run_id": run.run_id, **run.facts})


def _summary(planned: PredictPlan, run: Run, tally: Tally, engine: str | None) -> PredictSummary:
    total = planned.num_images
    left = planned.num_left - tally.num_rows
    num_failed = (tally.failed + planned.done.failed).total()
    allowed = planned.config.max_bad_images(total)
    too_many = None
    if allowed is not None and num_failed > allowed:
        outcome = (
            f"stopped with {left} left; find out why, then continue with --resume and a larger "
            "--max-errors:"
            if left
            else "all rows are in"
        )
        too_many = (
            f"{num_failed} of {total - left} images failed, but max_errors allows "
            f"{planned.config.max_errors}; {outcome} {run.uri}."
        )
    return PredictSummary(
        output=run.uri,
        run_id=run.run_id,
        model=model_name(planned.bundles),
        engine=engine,
        indexed=total,
        ignored=planned.images.settings.get("ignored", {}),
        scored=tally.predictions.total(),
        failed=dict(tally.failed),
        skipped=planned.num_done,
        left=left,
        predictions=dict(tally.predictions),
        warnings=tally.num_warnings,
        histogram=tally.histogram.tolist() if planned.bundles[0].positive else None,
        seconds=round(tally.seconds, 3),
        seconds_to_first=_rounded(tally.seconds_to_first),
        images_per_second=round(tally.num_rows / tally.seconds, 2),
        steady_images_per_second=round(tally.steady_rate, 2),
        stages=tally.shares(),
        retries=tally.num_retries,
        peak_memory_bytes=tally.peak_memory_bytes(),
        update=None if planned.update is None else planned.update.counts,
        doubts=planned.doubts,
        external=planned.external,
        lost_parts=planned.done.missing,
        too_many_bad=too_many,
    )


def _nothing_to_do(planned: PredictPlan, run: Run) -> PredictSummary:
    """The summary when all rows were already written."""
    if planned.config.csv:
        predictions.write_csv(run.uri, list(planned.done.entries))
    tally = Tally(planned.num_images, done_before=planned.num_images)
    MetricsFile(planned.config.metrics_file, run.uri).write(
        metrics(tally.facts(), planned.done.failed), last=True
    )
    summary = _summary(planned, run, tally, None)
    return dataclasses.replace(summary, already_finished=True)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _row_counts(summary: PredictSummary) -> dict[str, Any]:
    return {
        "indexed": summary.indexed,
        "scored": summary.scored,
        "failed": summary.failed,
        "skipped": summary.skipped,
        **({"left": summary.left} if summary.left else {}),
    }
