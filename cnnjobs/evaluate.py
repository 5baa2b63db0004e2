"""`cnnjobs evaluate`: score a split with known labels and say how right the model is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs import bundle as bundles
from cnnjobs import (
    calibration,
    cluster,
    metrics,
    runs,
    s3,
    schema,
    scoring,
    sources,
    storage,
    words,
)
from cnnjobs.bundle import Bundle
from cnnjobs.config import EvaluateConfig, as_dict
from cnnjobs.errors import InputError
from cnnjobs.metrics import Bootstrap, Interval, Metrics
from cnnjobs.progress import Progress, silent
from cnnjobs.reading import Policy
from cnnjobs.scorer import Scoring

_GROUPS = ["path", "group"]


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary:
    """Metrics of one model on one split; images without a score are counted, not guessed.

    `intervals` hold 95 % of resamples of the groups; see `metrics.Metrics`. `prevalence` is the
    one that was asked for.
    """

    bundle: str
    model: str
    split: str
    positive: str | None
    threshold: float
    temperature: float
    prevalence: float | None
    num_images: int
    num_groups: int
    num_failed: int
    num_unlabelled: int
    counts: Mapping[str, int]
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None
    undefined: str | None
    confusion: Mapping[str, Mapping[str, int]]
    warning: str | None
    output: str | None


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """What would be evaluated, decided before Ray starts."""

    config: EvaluateConfig
    bundle: Bundle
    rows: pa.Table
    manifest_fingerprint: str
    num_unlabelled: int
    warning: str | None
    output: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            "images": self.rows.num_rows,
            "split": self.config.split,
            "model": self.bundle.name,
            "labels": list(self.bundle.labels),
            "positive": self.bundle.positive,
            "warning": self.warning,
            "output": self.output,
        }


def plan(config: EvaluateConfig, progress: Progress = silent) -> EvaluatePlan:
    """Read the bundle and the data and check that they fit each other.

    Raises:
        InputError: labels the bundle does not know, no labels, an output in use, a prevalence
            for many classes, or images in a test that the model was trained on.
    """
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle)
    if config.prevalence is not None and bundle.positive is None:
        raise InputError(
            f"prevalence is for two classes, the bundle has {len(bundle.labels)}; leave it out."
        )
    output = storage.normalize(config.output) if config.output is not None else None
    if output is not None:
        runs.check_free(output, overwrite=config.overwrite)
    images = sources.open_data(config.data, progress=progress)
    rows = images.select(config.split)
    unknown = sorted(set(pc.unique(rows["label"]).drop_null().to_pylist()) - set(bundle.labels))
    if unknown:
        raise InputError(
            f"the bundle knows the labels {', '.join(bundle.labels)}, the data also has "
            f"{', '.join(unknown)}; evaluate on data with the bundle's labels."
        )
    labelled = rows.filter(pc.is_valid(rows["label"]))
    if labelled.num_rows == 0:
        raise InputError(
            f"{config.data} has no labels in split {config.split}; put the images in one folder "
            "a class, or use cnnjobs predict."
        )
    return EvaluatePlan(
        config=config,
        bundle=bundle,
        rows=labelled,
        manifest_fingerprint=images.fingerprint,
        num_unlabelled=rows.num_rows - labelled.num_rows,
        warning=_check_unseen(bundle, labelled, config, images.fingerprint),
        output=output,
    )


def evaluate(config: EvaluateConfig, progress: Progress = silent) -> EvaluateSummary:
    """Score the split and compare with its labels; with `output`, leave a run directory.

    Raises:
        InputError: see `plan`; or no image of the split could be scored.
    """
    planned = plan(config, progress)
    if planned.output is None:
        return _evaluated(planned, "evaluate", progress)[0]
    facts = {"manifest": planned.manifest_fingerprint, "model": planned.bundle.name}
    run = runs.start(planned.output, "evaluate", as_dict(config))
    with run.failing_recorded(**facts):
        summary, predictions = _evaluated(planned, run.run_id, progress)
        part = "part-00000.parquet"
        storage.write_table(run.path("predictions", part), predictions)
        run.finish(**facts, files=[part], summary=summary)
    return summary


def measure(
    scored: pa.Table,
    bundle: Bundle,
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
) -> Metrics:
    """Metrics of prediction rows that have a label and a score; see `metrics.binary`.

    Where the bundle has a temperature, Brier score and ECE are given without it, too.
    """
    labels = scored["label"].to_pylist()
    if bundle.positive is None:
        probabilities = np.array(scored["probabilities"].to_pylist(), np.float32)
        return metrics.multiclass(
            labels,
            probabilities,
            names=bundle.labels,
            uncalibrated=_uncalibrated(probabilities, bundle),
            bootstrap=bootstrap,
        )
    negative = next(label for label in bundle.labels if label != bundle.positive)
    probabilities = scored["probability"].to_numpy()
    uncalibrated = _uncalibrated(probabilities[:, np.newaxis], bundle)
    return metrics.binary(
        labels,
        probabilities,
        positive=bundle.positive,
        negative=negative,
        threshold=bundle.threshold,
        prevalence=prevalence,
        uncalibrated=uncalibrated[:, 0] if uncalibrated is not None else None,
        bootstrap=bootstrap,
    )


def _uncalibrated(probabilities: NDArray[np.float32], bundle: Bundle) -> NDArray[np.float32] | None:
    """What the model gave before its temperature, None where it has none."""
    if bundle.temperature == 1:
        return None
    return calibration.scaled(probabilities, 1 / bundle.temperature)


def _evaluated(
    planned: EvaluatePlan, run_id: str, progress: Progress
) -> tuple[EvaluateSummary, pa.Table]:
    """The summary, and the prediction rows it is of."""
    config, bundle, total = planned.config, planned.bundle, planned.rows.num_rows
    tables = []
    progress("evaluate", 0, total, "starting")
    with cluster.connected(config.address):
        how = scoring.with_engine(
            Scoring(
                bundles=[bundle],
                engine=config.engine,
                batch_size=config.batch_size,
                run_id=run_id,
                # what the manifest has no error for was taken when it was indexed
                policy=Policy(any_modality=True),
            )
        )
        for table in scoring.score(planned.rows, how):
            tables.append(table.drop_columns(schema.MEASURES.names))
            progress("evaluate", sum(part.num_rows for part in tables), total)
    predictions = pa.concat_tables(tables)
    scored = predictions.filter(pc.is_null(predictions["error"]))
    if scored.num_rows == 0:
        raise InputError(
            f"none of the {total} images in split {config.split} could be read, "
            f"{predictions['path'][0]} ({predictions['error'][0]}) the first."
        )
    group_of = {row["path"]: row["group"] for row in planned.rows.select(_GROUPS).to_pylist()}
    groups = [group_of[path] or path for path in scored["path"].to_pylist()]
    bootstrap = Bootstrap(groups=groups, resamples=config.resamples, seed=config.seed)
    progress("measure", 0, None)
    measured = measure(scored, bundle, prevalence=config.prevalence, bootstrap=bootstrap)
    summary = EvaluateSummary(
        bundle=bundle.uri,
        model=bundle.name,
        split=config.split,
        positive=bundle.positive,
        threshold=bundle.threshold,
        temperature=bundle.temperature,
        prevalence=config.prevalence,
        num_images=scored.num_rows,
        num_groups=len(set(groups)),
        num_failed=total - scored.num_rows,
        num_unlabelled=planned.num_unlabelled,
        counts=dict(Counter(scored["label"].to_pylist())),
        metrics=measured.values,
        intervals=measured.intervals,
        no_intervals=measured.no_intervals,
        undefined=measured.undefined,
        confusion=measured.confusion,
        warning=planned.warning,
        output=planned.output,
    )
    return summary, predictions


def _check_unseen(
    bundle: Bundle, rows: pa.Table, config: EvaluateConfig, manifest_fingerprint: str
) -> str | None:
    """Refuse a test on images the model has seen; returns a warning where none can tell.

    Splits train and validation are taken as asked for.
    """
    if config.split in (words.TRAIN, words.VALIDATION):
        return f"split {config.split} made this model; its metrics say nothing of new images."
    if manifest_fingerprint == bundle.manifest_fingerprint and config.split == words.TEST:
        return None
    seen = bundles.seen_images(bundle)
    hashes = rows["content_hash"]
    if hashes.null_count == rows.num_rows or seen["content_hash"].null_count == seen.num_rows:
        return (
            "this is not the manifest the model was trained on, and without content hashes "
            "nobody can tell whether it has seen these images; index with --content."
        )
    known = rows.filter(pc.is_in(hashes, pc.drop_null(seen["content_hash"].combine_chunks())))
    known = known.filter(pc.is_valid(known["content_hash"]))
    if known.num_rows:
        raise InputError(
            f"{known.num_rows} of these {rows.num_rows} images made the model "
            f"({known['path'][0]} the first); evaluate on the test split of its own manifest, "
            "or on other images."
        )
    return None
