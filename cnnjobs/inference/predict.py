"""`cnnjobs predict`: score every image of a manifest, one row each, to Parquet."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.cluster import session, spilling
from cnnjobs.config import PredictConfig, as_dict
from cnnjobs.data import manifest
from cnnjobs.errors import CnnjobsError, TooManyBadImages
from cnnjobs.inference import predictions, ray_pipeline
from cnnjobs.inference.plan import PredictPlan, plan
from cnnjobs.inference.predictor import model_name
from cnnjobs.inference.run_stats import ProgressFile, Tally
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import run_dir
from cnnjobs.storage.run_dir import Run


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a job did; `indexed` is the sum of `scored`, `failed`, `skipped` and `left`.

    `ignored` counts the files of the data that are no images, by suffix.
    `skipped` rows were written by an earlier start of the same run, `left` is what was not
    scored because too many images failed; all else is of this start. `stages` is the share of
    each in the time of all, which run side by side. `doubts` says why nobody should rely on the
    scores (`evidence.doubt`). `too_many_bad` says so where more images
    failed than `max_errors` allows.
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
    already_finished: bool = False
    too_many_bad: str | None = None


def predict(config: PredictConfig, progress: Progress = silent) -> PredictSummary:
    """Score every image of the config's data; each ends as one row, scored or with an error.

    Rows stand in the manifest's order in `predictions/part-*.parquet`; a part is there
    whole or not at all, so that a stopped run goes on behind its last part (`resume`).

    Raises:
        InputError: the bundle, the data or the output cannot be used.
        CnnjobsError: the parts do not hold every image once.
    """
    spilling.forget()
    planned = plan(config, progress)
    run, update = planned.run, planned.update
    if run is not None and run_dir.is_finished(run.uri) and (update is None or update.is_empty):
        return _nothing_to_do(planned, run)
    if run is None:
        session.check(config.address)
        run = run_dir.start(
            planned.output, "predict", as_dict(config), spilled_bytes=spilling.reported
        )
    run_dir.reopen(run.uri)
    if update is not None:
        # before the record and the manifest say so: what is stopped in between has rows to
        # score, and none that is of an older image
        stale = pa.concat_arrays([update.changed, update.again])
        predictions.drop(run.uri, predictions.files(run.uri), stale)
    with run.failing_recorded(**planned.fingerprints):
        manifest.write(planned.manifest, run.path("manifest.parquet"))
        return _score_and_write(planned, run, progress)


def judge(summary: PredictSummary) -> None:
    """Raise TooManyBadImages if more failed than the job allows."""
    if summary.too_many_bad is not None:
        raise TooManyBadImages(summary.too_many_bad, summary)


def _score_and_write(planned: PredictPlan, run: Run, progress: Progress) -> PredictSummary:
    config, total = planned.config, planned.rows.num_rows
    writer = predictions.Writer(
        run.uri, rows_per_file=config.rows_per_file, partition=_partition(planned)
    )
    before = predictions.read(run.uri, writer.files, ["path", "error"])
    rows = planned.rows.filter(pc.invert(pc.is_in(planned.rows["path"], value_set=before["path"])))
    tally = Tally(total, done_before=before.num_rows)
    told = ProgressFile(run.path("progress.jsonl"))
    allowed = config.max_bad_images(total)
    bad_before = len(before) - before["error"].null_count
    engine = None
    progress("predict", before.num_rows, total, "starting")
    if rows.num_rows:
        with session.connected(config.address):
            how = planned.scoring(run.run_id)
            engine = how.engine
            with closing(ray_pipeline.score(rows, how, planned.wanted)) as tables, writer:
                for table in tables:
                    tally.add(table)
                    is_part = writer.add(table.drop_columns(schema.MEASURES.names))
                    facts = tally.facts()
                    told.tell(facts)
                    progress("predict", facts["done"], total, _note(facts))
                    bad = bad_before + tally.failed.total()
                    if is_part and allowed is not None and bad > allowed:
                        break
    tally.add_writing(writer.seconds)
    told.tell(tally.facts(), last=True)
    summary = _summary(planned, run, tally, before, engine)
    _check_books(planned, run, writer.files, summary)
    if config.csv and not summary.left:
        predictions.write_csv(run.uri, writer.files)
    facts = {**planned.fingerprints, "rows": _row_counts(summary), "files": writer.files}
    if summary.left:
        run.record("stopped", **facts, summary=summary)
    else:
        run.finish(**facts, summary=summary)
    return summary


def _partition(planned: PredictPlan) -> predictions.Partition | None:
    if planned.config.partition_by == "label":
        return predictions.by_label
    if planned.config.partition_by == "prefix":
        return predictions.by_prefix(planned.manifest.settings["sources"])
    return None


def _note(facts: Mapping[str, Any]) -> str:
    return f"{facts['images_per_second']:.0f}/s, {facts['failed']} bad"


def _check_books(
    planned: PredictPlan, run: Run, files: Sequence[str], summary: PredictSummary
) -> None:
    """Every image once: read back from the files, not from what the job believes."""
    rows = predictions.read(run.uri, files, ["path", "error"])
    num_images = pc.count_distinct(rows["path"]).as_py()
    num_unknown = pc.sum(pc.invert(pc.is_in(rows["path"], value_set=planned.rows["path"]))).as_py()
    told = summary.scored + sum(summary.failed.values()) + summary.skipped
    if (
        rows.num_rows != num_images
        or num_unknown
        or told != rows.num_rows
        or (told + summary.left != summary.indexed)
    ):
        raise CnnjobsError(
            f"{run.uri} holds {rows.num_rows} rows of {num_images} images, {told} were scored and "
            f"{summary.indexed} are in the manifest; start again with --overwrite and report this."
        )


def _summary(
    planned: PredictPlan, run: Run, tally: Tally, before: pa.Table, engine: str | None
) -> PredictSummary:
    total = planned.rows.num_rows
    left = total - before.num_rows - tally.num_rows
    num_failed = tally.failed.total() + len(before) - before["error"].null_count
    allowed = planned.config.max_bad_images(total)
    too_many = None
    if allowed is not None and num_failed > allowed:
        rest = (
            f"stopped with {left} left; see why, then --resume with a larger --max-errors:"
            if left
            else "all rows are in"
        )
        too_many = (
            f"{num_failed} of {total - left} images failed, {planned.config.max_errors} allowed "
            f"by max_errors; {rest} {run.uri}."
        )
    return PredictSummary(
        output=run.uri,
        run_id=run.run_id,
        model=model_name(planned.bundles),
        engine=engine,
        indexed=total,
        ignored=planned.manifest.settings.get("ignored", {}),
        scored=tally.predictions.total(),
        failed=dict(tally.failed),
        skipped=before.num_rows,
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
        too_many_bad=too_many,
    )


def _nothing_to_do(planned: PredictPlan, run: Run) -> PredictSummary:
    """The summary of a start that found all rows there."""
    total = planned.rows.num_rows
    before = predictions.read(run.uri, predictions.files(run.uri), ["path", "error"])
    summary = _summary(planned, run, Tally(total, done_before=total), before, None)
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
