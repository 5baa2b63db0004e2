"""`cnnjobs predict`: score every image of a manifest, one row each, to Parquet."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import bundle as bundles
from cnnjobs import cluster, manifest, runs, schema, scoring, sources, storage
from cnnjobs.bundle import Bundle
from cnnjobs.config import PredictConfig, as_dict
from cnnjobs.errors import CnnjobsError
from cnnjobs.manifest import Manifest
from cnnjobs.progress import Progress, silent
from cnnjobs.runs import Run

#: Settings that change what is written; a run is resumed with the same ones or not at all.
_RESULT_SETTINGS = ("split", "batch_size")


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What a run would do, decided before Ray starts."""

    config: PredictConfig
    bundle: Bundle
    manifest: Manifest
    rows: pa.Table
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            "images": self.rows.num_rows,
            "model": self.bundle.name,
            "labels": list(self.bundle.labels),
            "positive": self.bundle.positive,
            "output": self.output,
        }


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a scoring run did; `indexed` is the sum of `scored`, `failed` and `skipped`.

    `skipped` rows were written by an earlier start of the same run; `predictions` and
    `failed` count this start's rows. `too_many_bad` says so where more images failed than
    `max_errors` allows.
    """

    output: str
    run_id: str
    model: str
    indexed: int
    scored: int
    failed: Mapping[str, int]
    skipped: int
    predictions: Mapping[str, int]
    seconds: float
    images_per_second: float
    already_finished: bool
    too_many_bad: str | None


def plan(config: PredictConfig, progress: Progress = silent) -> PredictPlan:
    """Read the bundle and the manifest and check the output; writes nothing that stays.

    Raises:
        InputError: one of them cannot be used.
    """
    bundle = bundles.read(config.bundle)
    images = sources.open_data(config.data, content=False, split=False, progress=progress)
    planned = PredictPlan(
        config=config,
        bundle=bundle,
        manifest=images,
        rows=images.select(config.split),
        output=storage.normalize(config.output),
    )
    if _resumed(planned) is None:
        runs.check_free(planned.output, overwrite=config.overwrite, resumable=True)
    return planned


def predict(config: PredictConfig, progress: Progress = silent) -> PredictSummary:
    """Score every image of the config's data; each ends as one row, scored or with an error.

    Rows stand in the manifest's order in `predictions/part-*.parquet`; a part is there
    whole or not at all, so that a stopped run goes on behind its last part (`resume`).

    Raises:
        InputError: the bundle, the data or the output cannot be used.
        CnnjobsError: the parts do not hold every image once.
    """
    planned = plan(config, progress)
    run = _resumed(planned)
    if run is not None and runs.is_finished(run.uri):
        before = _read_rows(run, storage.names(run.path("predictions")))
        return _summary(planned, run, before, already_finished=True)
    if run is None:
        run = runs.start(planned.output, "predict", as_dict(config))
    with run.failing_recorded(**_facts(planned)):
        if not config.data.endswith(".parquet"):
            manifest.write(planned.manifest, run.path("manifest.parquet"))
        return _score_and_write(planned, run, progress)


def _score_and_write(planned: PredictPlan, run: Run, progress: Progress) -> PredictSummary:
    config, total = planned.config, planned.rows.num_rows
    parts = storage.names(run.path("predictions"))
    before = _read_rows(run, parts)
    rows = planned.rows.filter(pc.invert(pc.is_in(planned.rows["path"], before["path"])))
    outcomes: Counter[tuple[str | None, str | None]] = Counter()
    began = time.monotonic()
    progress("predict", before.num_rows, total, "starting")
    if rows.num_rows:
        with cluster.connected(config.address):
            held: list[pa.Table] = []
            for table in scoring.score(
                rows, planned.bundle, batch_size=config.batch_size, run_id=run.run_id
            ):
                held.append(table)
                outcomes.update(_outcomes(table))
                bad = sum(n for (_, error), n in outcomes.items() if error is not None)
                progress("predict", before.num_rows + outcomes.total(), total, f"{bad} bad")
                if sum(table.num_rows for table in held) >= config.rows_per_file:
                    parts.append(_write_part(run, len(parts), held))
                    held = []
            if held:
                parts.append(_write_part(run, len(parts), held))
    seconds = time.monotonic() - began
    _check_complete(planned, run, parts)
    summary = _summary(planned, run, before, outcomes, seconds)
    run.finish(**_facts(planned), rows=_row_counts(summary), files=parts, summary=summary)
    return summary


def _write_part(run: Run, number: int, tables: Iterable[pa.Table]) -> str:
    name = f"part-{number:05d}.parquet"
    storage.write_table(run.path("predictions", name), pa.concat_tables(tables))
    return name


def _outcomes(table: pa.Table) -> Iterable[tuple[str | None, str | None]]:
    """(predicted class, error category) of each row; one of them is None."""
    errors = (e if e is None else e.partition(":")[0] for e in table["error"].to_pylist())
    return zip(table["prediction"].to_pylist(), errors, strict=True)


def _read_rows(run: Run, parts: Iterable[str]) -> pa.Table:
    """What the parts hold, read back from the files: path, prediction and error."""
    columns = ["path", "prediction", "error"]
    empty = schema.predictions(2).empty_table().select(columns)
    tables = [
        pq.read_table(
            pa.BufferReader(storage.read_bytes(run.path("predictions", part))), columns=columns
        )
        for part in parts
    ]
    return pa.concat_tables([empty, *tables])


def _check_complete(planned: PredictPlan, run: Run, parts: Iterable[str]) -> None:
    """Every image once: read back from the files, not from what the job believes."""
    written = _read_rows(run, parts)["path"]
    wanted = planned.rows["path"]
    if len(written) != len(wanted) or pc.count_distinct(written).as_py() != len(wanted):
        raise CnnjobsError(
            f"{run.uri} holds {len(written)} rows of {pc.count_distinct(written).as_py()} images, "
            f"{len(wanted)} were to be scored; start again with --overwrite and report this."
        )


def _resumed(planned: PredictPlan) -> Run | None:
    """The run to go on with, if that is asked for and there is one."""
    if not planned.config.resume:
        return None
    settings = {key: getattr(planned.config, key) for key in _RESULT_SETTINGS}
    return runs.find_same(planned.output, "predict", {**_facts(planned), **settings})


def _facts(planned: PredictPlan) -> dict[str, Any]:
    return {"manifest": planned.manifest.fingerprint, "model": planned.bundle.name}


def _summary(
    planned: PredictPlan,
    run: Run,
    before: pa.Table,
    outcomes: Counter[tuple[str | None, str | None]] | None = None,
    seconds: float = 0.0,
    *,
    already_finished: bool = False,
) -> PredictSummary:
    predictions, failed = _tally(outcomes or Counter())
    num_new = predictions.total() + failed.total()
    num_failed = failed.total() + _tally(Counter(_outcomes(before)))[1].total()
    allowed = planned.config.max_bad_images(planned.rows.num_rows)
    return PredictSummary(
        output=run.uri,
        run_id=run.run_id,
        model=planned.bundle.name,
        indexed=planned.rows.num_rows,
        scored=predictions.total(),
        failed=dict(failed),
        skipped=before.num_rows,
        predictions=dict(predictions),
        seconds=round(seconds, 3),
        images_per_second=round(num_new / seconds, 2) if seconds else 0.0,
        already_finished=already_finished,
        too_many_bad=(
            f"{num_failed} of {planned.rows.num_rows} images failed, {planned.config.max_errors} "
            f"allowed by max_errors; all rows are in {run.uri}."
            if allowed is not None and num_failed > allowed
            else None
        ),
    )


def _tally(
    outcomes: Counter[tuple[str | None, str | None]],
) -> tuple[Counter[str], Counter[str]]:
    """Images by predicted class, and failed ones by category."""
    predictions: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for (prediction, error), number in outcomes.items():
        if error is not None:
            failed[error] += number
        else:
            predictions[str(prediction)] += number
    return predictions, failed


def _row_counts(summary: PredictSummary) -> dict[str, Any]:
    return {
        "indexed": summary.indexed,
        "scored": summary.scored,
        "failed": summary.failed,
        "skipped": summary.skipped,
    }
