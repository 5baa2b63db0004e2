"""`cnnjobs compare`: models on the same images, from the runs that scored them."""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs import metrics
from cnnjobs.config import CompareConfig
from cnnjobs.data import manifest
from cnnjobs.errors import InputError
from cnnjobs.inference import predictions
from cnnjobs.metrics import Bootstrap, Difference, Interval, Metrics, paired
from cnnjobs.metrics.paired import DeLong, McNemar
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3

_COLUMNS = ["path", "label", "prediction", "probability", "error", "model"]


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A run of `evaluate` or `predict` with a two-class model, and its rows with label and score.

    `groups` is the group of each path, where the run has a manifest.
    """

    uri: str
    labels: Sequence[str]
    positive: str
    threshold: float
    rows: pa.Table
    groups: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """What one run's model reaches on the images of all."""

    run: str
    model: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run less the first one; `differences` have the intervals of paired resamples of groups.

    `delong` is None where the images are of one class, or one of a class alone.
    """

    run: str
    delong: DeLong | None
    mcnemar: McNemar
    differences: Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class CompareSummary:
    """All models, and each against the first; `num_left_out` images are not in every run."""

    positive: str
    num_images: int
    num_groups: int
    num_left_out: int
    counts: Mapping[str, int]
    models: Sequence[ModelSummary]
    comparisons: Sequence[Comparison]
    no_intervals: str | None
    undefined: str | None
    output: str | None


def plan(config: CompareConfig) -> dict[str, Any]:
    """What `--dry-run` tells."""
    several = _open_all(config)
    return {
        "runs": {run.uri: run.rows.num_rows for run in several},
        "shared images": len(_shared_paths(several, config)),
        "output": config.output,
    }


def compare(config: CompareConfig, progress: Progress = silent) -> CompareSummary:
    """Compare every run with the first one.

    Raises:
        InputError: a run cannot be read or has no labels, models of other classes, other images
            or other labels.
    """
    several = _open_all(config)
    paths = _shared_paths(several, config)
    rows = [run.rows.take(pc.index_in(paths, value_set=run.rows["path"])) for run in several]
    labels = rows[0]["label"].to_pylist()
    for run, its in zip(several[1:], rows[1:], strict=True):
        _check_labels(run, its, several[0], labels)
    grouped = next((run.groups for run in several if run.groups), {})
    groups = [grouped.get(path) or path for path in paths.to_pylist()]
    bootstrap = Bootstrap(groups=groups, resamples=config.resamples, seed=config.seed)
    progress("compare", 0, None)
    measured = [
        _measured(run, its, labels, bootstrap) for run, its in zip(several, rows, strict=True)
    ]
    output = filesystem.normalize(config.output) if config.output is not None else None
    summary = CompareSummary(
        positive=several[0].positive,
        num_images=len(labels),
        num_groups=len(set(groups)),
        num_left_out=len(pa.chunked_array(_all_paths(several)).unique()) - len(labels),
        counts=dict(Counter(labels).most_common()),
        models=[
            ModelSummary(
                run=run.uri,
                model=its["model"][0].as_py(),
                metrics=found.values,
                intervals=found.intervals,
            )
            for run, its, found in zip(several, rows, measured, strict=True)
        ],
        comparisons=[
            _compared(run, its, rows[0], several[0].positive, found, measured[0])
            for run, its, found in zip(several[1:], rows[1:], measured[1:], strict=True)
        ],
        no_intervals=measured[0].no_intervals,
        undefined=measured[0].undefined,
        output=output,
    )
    if output is not None:
        text = json.dumps(dataclasses.asdict(summary), indent=2)
        filesystem.write_bytes(output, text.encode())
    return summary


def open_run(uri: str) -> ScoredRun:
    """The rows of a run that have a label and a score, and what its model calls positive.

    Raises:
        InputError: it is no finished run that scored images, its model has more than two
            classes, or no image has a label.
    """
    uri = filesystem.normalize(uri)
    record = run_dir.read_record(uri)
    if record is None or record["command"] not in ("evaluate", "predict"):
        raise InputError(f"{uri} is no run of evaluate or predict; give the -o of one.")
    if not run_dir.is_finished(uri):
        raise InputError(f"the run in {uri} is not finished; let it end, then compare.")
    described = record["summary"] if record["command"] == "evaluate" else _of_bundle(record)
    if described["positive"] is None:
        raise InputError(f"compare is for models of two classes, that of {uri} has more.")
    rows = predictions.read(uri, record["files"], _COLUMNS)
    rows = rows.filter(pc.and_(pc.is_null(rows["error"]), pc.is_valid(rows["label"])))
    if rows.num_rows == 0:
        raise InputError(f"{uri} has no image with a label and a score; compare needs labels.")
    return ScoredRun(
        uri=uri,
        labels=sorted(described["confusion"]),
        positive=described["positive"],
        threshold=described["threshold"],
        rows=rows.combine_chunks(),
        groups=_groups(uri),
    )


def _of_bundle(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of `predict` does not say itself; of an ensemble the threshold is the mean."""
    config = record["config"]
    several = [bundles.read(each) for each in (config["bundle"], *config["bundles"])]
    return {
        "positive": several[0].positive,
        "threshold": float(np.mean([each.threshold for each in several])),
        "confusion": several[0].labels,
    }


def _groups(uri: str) -> dict[str, str | None]:
    place = filesystem.join(uri, "manifest.parquet")
    if not filesystem.exists(place):
        return {}
    rows = manifest.read(place).table.select(["path", "group"]).to_pylist()
    return {row["path"]: row["group"] for row in rows}


def _open_all(config: CompareConfig) -> list[ScoredRun]:
    """The runs, whose models must have the same classes."""
    s3.use(**config.s3)
    several = [open_run(uri) for uri in config.runs]
    first = several[0]
    for other in several[1:]:
        if (other.labels, other.positive) != (first.labels, first.positive):
            raise InputError(
                f"models that are compared must have the same classes: that of {first.uri} has "
                f"{_classes(first)}, that of {other.uri} has {_classes(other)}."
            )
    return several


def _classes(run: ScoredRun) -> str:
    return f"{', '.join(run.labels)} (positive {run.positive})"


def _shared_paths(several: Sequence[ScoredRun], config: CompareConfig) -> pa.Array:
    """The images that every run has, in the order of the first."""
    every = _all_paths(several)
    shared = functools.reduce(
        lambda known, paths: known.filter(pc.is_in(known, value_set=paths)), every
    )
    for run, paths in zip(several, every, strict=True):
        if len(shared) == 0 or (len(paths) > len(shared) and not config.shared):
            way = "--shared compares on those" if len(shared) else "score the same ones"
            raise InputError(
                f"the runs have other images: of the {len(paths)} in {run.uri} all have "
                f"{len(shared)}; {way}."
            )
    return shared


def _all_paths(several: Sequence[ScoredRun]) -> list[pa.Array]:
    return [run.rows["path"].combine_chunks() for run in several]


def _check_labels(run: ScoredRun, rows: pa.Table, first: ScoredRun, labels: Sequence[str]) -> None:
    for path, one, other in zip(
        rows["path"].to_pylist(), labels, rows["label"].to_pylist(), strict=True
    ):
        if one != other:
            raise InputError(
                f"{path} is {one} in {first.uri} and {other} in {run.uri}; compare runs with the "
                "same labels."
            )


def _measured(
    run: ScoredRun, rows: pa.Table, labels: Sequence[str], bootstrap: Bootstrap
) -> Metrics:
    return metrics.binary(
        labels,
        rows["probability"].to_numpy(),
        positive=run.positive,
        negative=next(label for label in run.labels if label != run.positive),
        threshold=run.threshold,
        bootstrap=bootstrap,
    )


def _compared(
    run: ScoredRun, rows: pa.Table, first: pa.Table, positive: str, its: Metrics, against: Metrics
) -> Comparison:
    actual = np.array([label == positive for label in first["label"].to_pylist()])
    enough = 2 <= actual.sum() <= len(actual) - 2
    one, other = (table["probability"].to_numpy() for table in (rows, first))
    return Comparison(
        run=run.uri,
        delong=paired.delong(one, other, actual) if enough else None,
        mcnemar=paired.mcnemar(_right(rows), _right(first)),
        differences=metrics.differences(its, against),
    )


def _right(rows: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(rows["prediction"], rows["label"]))
