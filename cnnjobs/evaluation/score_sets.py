"""A model tried on images with known labels: scored on Ray, measured here."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.cluster import session
from cnnjobs.config import EvaluateConfig
from cnnjobs.errors import InputError
from cnnjobs.evaluation import prediction_metrics
from cnnjobs.evaluation.labelled_set import POLICY, LabelledSet
from cnnjobs.inference import ray_pipeline
from cnnjobs.inference.predictor import Scoring
from cnnjobs.metrics import Bootstrap, Metrics
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What came of one set: all its rows, those of them with a score, and their metrics."""

    images: LabelledSet
    predictions: pa.Table
    scored: pa.Table
    bootstrap: Bootstrap
    measured: Metrics


def tested(
    sets: Sequence[LabelledSet],
    bundle: Bundle,
    config: EvaluateConfig,
    run_id: str,
    progress: Progress,
) -> list[Tested]:
    """Score the sets, one after the other on one Ray, and measure each.

    Each set is resampled from a seed of its own, see `metrics.differences`.

    Raises:
        InputError: no image of a set can be read.
    """
    progress("evaluate", 0, None, "starting")
    with session.connected(config.address):
        how = ray_pipeline.choose_engine(
            Scoring(
                bundles=[bundle],
                engine=config.engine,
                batch_size=config.batch_size,
                run_id=run_id,
                policy=POLICY,
            )
        )
        predictions = [_predictions(images, how, progress) for images in sets]
    progress("measure", 0, None)
    return [
        _measured(images, rows, bundle, config, seed=config.seed + place)
        for place, (images, rows) in enumerate(zip(sets, predictions, strict=True))
    ]


def _predictions(images: LabelledSet, how: Scoring, progress: Progress) -> pa.Table:
    rows = images.manifest.table
    tables = []
    with closing(ray_pipeline.score(rows, how)) as scored:
        for table in scored:
            tables.append(table.drop_columns(schema.MEASURES.names))
            progress("evaluate", sum(part.num_rows for part in tables), rows.num_rows)
    return pa.concat_tables(tables)


def _measured(
    images: LabelledSet, predictions: pa.Table, bundle: Bundle, config: EvaluateConfig, *, seed: int
) -> Tested:
    scored = predictions.filter(pc.is_null(predictions["error"]))
    if scored.num_rows == 0:
        raise InputError(
            f"none of the {predictions.num_rows} images in split {images.split} could be "
            f"read, {predictions['path'][0]} ({predictions['error'][0]}) the first."
        )
    bootstrap = Bootstrap(groups=_groups(images, scored), resamples=config.resamples, seed=seed)
    return Tested(
        images=images,
        predictions=predictions,
        scored=scored,
        bootstrap=bootstrap,
        measured=prediction_metrics.measure(
            scored, bundle, prevalence=config.prevalence, bootstrap=bootstrap
        ),
    )


def _groups(images: LabelledSet, scored: pa.Table) -> list[str]:
    """The group of each row; an image without one is a group of its own."""
    rows = images.manifest.table.select(["path", "group"]).to_pylist()
    group_of = {row["path"]: row["group"] for row in rows}
    return [group_of[path] or path for path in scored["path"].to_pylist()]
