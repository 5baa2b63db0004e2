"""Score labelled images, and measure the predictions here."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config import EvaluateConfig
from cnnjobs.errors import InputError, SourceError
from cnnjobs.evaluation import prediction_metrics
from cnnjobs.evaluation.labelled_set import POLICY, LabelledSet
from cnnjobs.inference import backends
from cnnjobs.inference.backends import Backend
from cnnjobs.inference.predictor import Scoring
from cnnjobs.metrics import Bootstrap, Metrics
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """A labelled set with all its prediction rows, those with a score, and their metrics."""

    labelled: LabelledSet
    predictions: pa.Table
    scored: pa.Table
    bootstrap: Bootstrap
    measured: Metrics


def score_and_measure(
    sets: Sequence[LabelledSet],
    bundle: Bundle,
    config: EvaluateConfig,
    run_id: str,
    progress: Progress,
) -> list[MeasuredSet]:
    """Score the sets one after the other on one backend, and measure each.

    Every set is resampled with a different seed, see `metrics.differences`.

    Raises:
        InputError: no image of a set can be read.
        SourceError: the images cannot be read any more.
    """
    progress("evaluate", 0, None, "starting")
    num_images = sum(each.manifest.table.num_rows for each in sets)
    with backends.started(config, num_images) as backend:
        scoring = backends.choose_engine(
            backend,
            Scoring(
                bundles=[bundle],
                engine=config.engine,
                batch_size=config.batch_size,
                run_id=run_id,
                policy=POLICY,
            ),
        )
        predictions = [_score(backend, labelled, scoring, progress) for labelled in sets]
    progress("measure", 0, None)
    return [
        _measure(labelled, rows, bundle, config, seed=config.seed + index)
        for index, (labelled, rows) in enumerate(zip(sets, predictions, strict=True))
    ]


def _score(
    backend: Backend, labelled: LabelledSet, scoring: Scoring, progress: Progress
) -> pa.Table:
    rows = labelled.manifest.table
    tables = []
    try:
        with closing(backends.score(backend, rows, scoring)) as scored:
            for table in scored:
                tables.append(table.drop_columns(schema.MEASURES.names))
                progress("evaluate", sum(part.num_rows for part in tables), rows.num_rows)
    except SourceError as error:
        raise SourceError(f"{error}; restore access to the images, then start again.") from error
    return pa.concat_tables(tables)


def _measure(
    labelled: LabelledSet,
    predictions: pa.Table,
    bundle: Bundle,
    config: EvaluateConfig,
    *,
    seed: int,
) -> MeasuredSet:
    scored = predictions.filter(pc.is_null(predictions["error"]))
    if scored.num_rows == 0:
        raise InputError(
            f"none of the {predictions.num_rows} images in split {labelled.split} could be read; "
            f"the first: {predictions['path'][0]} ({predictions['error'][0]})."
        )
    groups = groups_of(labelled.manifest.table, scored)
    bootstrap = Bootstrap(groups=groups, resamples=config.resamples, seed=seed)
    return MeasuredSet(
        labelled=labelled,
        predictions=predictions,
        scored=scored,
        bootstrap=bootstrap,
        measured=prediction_metrics.measure(
            scored, bundle, prevalence=config.prevalence, bootstrap=bootstrap
        ),
    )


def groups_of(rows: pa.Table, scored: pa.Table) -> list[str]:
    """The group in a manifest's rows of each scored row; an image without one is its own group."""
    group_of = {row["path"]: row["group"] for row in rows.select(["path", "group"]).to_pylist()}
    return [group_of[path] or path for path in scored["path"].to_pylist()]
