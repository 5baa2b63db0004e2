"""`cnnjobs compare`: compare models on the same images, from the runs that scored them."""

import functools
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
from cnnjobs.storage import apart, filesystem, json_files, run_dir, s3

_COLUMNS = ["path", "label", "prediction", "probability", "error", "model"]


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A run of `evaluate` or `predict` with a two-class model: its rows with label and score.

    `groups` holds the group of each path; it is empty if the run has no manifest.
    """

    uri: str
    labels: Sequence[str]
    positive: str
    threshold: float
    rows: pa.Table
    groups: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """Metrics of one run's model on the shared images."""

    run: str
    model: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run minus the first run; `differences` have intervals from paired resamples of groups.

    `delong` is None if a class has fewer than two images.
    """

    run: str
    delong: DeLong | None
    mcnemar: McNemar
    differences: Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class CompareSummary:
    """All models, and each one against the first; `num_left_out` images are not in every run."""

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
    """What `--dry-run` prints."""
    runs = _open_all(config)
    return {
        "runs": {run.uri: run.rows.num_rows for run in runs},
        "shared images": len(_shared_paths(runs, config)),
        "output": _output(config),
    }


def compare(config: CompareConfig, progress: Progress = silent) -> CompareSummary:
    """Compare every run with the first one.

    Raises:
        InputError: a run cannot be read or has no labels, or the runs differ in classes, images
            or labels.
    """
    runs = _open_all(config)
    paths = _shared_paths(runs, config)
    tables = [run.rows.take(pc.index_in(paths, value_set=run.rows["path"])) for run in runs]
    labels = tables[0]["label"].to_pylist()
    for run, rows in zip(runs[1:], tables[1:], strict=True):
        _check_labels(run, rows, runs[0], labels)
    group_of = next((run.groups for run in runs if run.groups), {})
    groups = [group_of.get(path) or path for path in paths.to_pylist()]
    bootstrap = Bootstrap(groups=groups, resamples=config.resamples, seed=config.seed)
    progress("compare", 0, None)
    measured = [
        _measure(run, rows, labels, bootstrap) for run, rows in zip(runs, tables, strict=True)
    ]
    output = _output(config)
    summary = CompareSummary(
        positive=runs[0].positive,
        num_images=len(labels),
        num_groups=len(set(groups)),
        num_left_out=len(pa.chunked_array(_all_paths(runs)).unique()) - len(labels),
        counts=dict(Counter(labels).most_common()),
        models=[
            ModelSummary(
                run=run.uri,
                model=rows["model"][0].as_py(),
                metrics=result.values,
                intervals=result.intervals,
            )
            for run, rows, result in zip(runs, tables, measured, strict=True)
        ],
        comparisons=[
            _compare_to_first(run, rows, tables[0], runs[0].positive, result, measured[0])
            for run, rows, result in zip(runs[1:], tables[1:], measured[1:], strict=True)
        ],
        no_intervals=measured[0].no_intervals,
        undefined=measured[0].undefined,
        output=output,
    )
    if output is not None:
        filesystem.write_bytes(output, json_files.text(summary).encode())
    return summary


def _output(config: CompareConfig) -> str | None:
    if config.output is None:
        return None
    output = filesystem.normalize(config.output)
    apart.check_file(output, config.runs, mark=b'"num_left_out"', kind="a result of compare")
    return output


def open_run(uri: str) -> ScoredRun:
    """The rows of a run that have a label and a score, and its model's classes and threshold.

    Raises:
        InputError: it is not a finished run of `evaluate` or `predict`, its model has more than
            two classes, or no image has a label.
    """
    uri = filesystem.normalize(uri)
    record = run_dir.read_record(uri)
    if record is None or record["command"] not in ("evaluate", "predict"):
        raise InputError(f"{uri} is not a run of evaluate or predict; give the directory of one.")
    if not run_dir.is_finished(uri):
        raise InputError(f"the run in {uri} is not finished; finish it, then compare.")
    model = record["summary"] if record["command"] == "evaluate" else _describe_bundle(record)
    if model["positive"] is None:
        raise InputError(f"compare takes models of two classes, the model of {uri} has more.")
    rows = predictions.read(uri, record["files"], _COLUMNS)
    rows = rows.filter(pc.and_(pc.is_null(rows["error"]), pc.is_valid(rows["label"])))
    if rows.num_rows == 0:
        raise InputError(f"{uri} has no image with a label and a score; compare needs labels.")
    return ScoredRun(
        uri=uri,
        labels=sorted(model["confusion"]),
        positive=model["positive"],
        threshold=model["threshold"],
        rows=rows.combine_chunks(),
        groups=_groups(uri),
    )


def _describe_bundle(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of `predict` does not record; an ensemble's threshold is the mean."""
    config = record["config"]
    ensemble = [bundles.read(each) for each in (config["bundle"], *config["bundles"])]
    return {
        "positive": ensemble[0].positive,
        "threshold": float(np.mean([bundle.threshold for bundle in ensemble])),
        "confusion": ensemble[0].labels,
    }


def _groups(uri: str) -> dict[str, str | None]:
    path = filesystem.join(uri, "manifest.parquet")
    if not filesystem.exists(path):
        return {}
    rows = manifest.read(path).table.select(["path", "group"]).to_pylist()
    return {row["path"]: row["group"] for row in rows}


def _open_all(config: CompareConfig) -> list[ScoredRun]:
    """Open the runs and check that their models have the same classes."""
    s3.use(**config.s3)
    runs = [open_run(uri) for uri in config.runs]
    first = runs[0]
    for other in runs[1:]:
        if (other.labels, other.positive) != (first.labels, first.positive):
            raise InputError(
                f"compare takes models of the same classes: {first.uri} has {_classes(first)}, "
                f"{other.uri} has {_classes(other)}."
            )
    return runs


def _classes(run: ScoredRun) -> str:
    return f"{', '.join(run.labels)} (positive {run.positive})"


def _shared_paths(runs: Sequence[ScoredRun], config: CompareConfig) -> pa.Array:
    """The images in every run, in the order of the first run."""
    by_run = _all_paths(runs)
    shared = functools.reduce(
        lambda known, paths: known.filter(pc.is_in(known, value_set=paths)), by_run
    )
    for run, paths in zip(runs, by_run, strict=True):
        if len(shared) == 0 or (len(paths) > len(shared) and not config.shared):
            advice = "--shared compares those" if len(shared) else "score the same images"
            raise InputError(
                f"the runs have different images: {len(shared)} of the {len(paths)} in {run.uri} "
                f"are in every run; {advice}."
            )
    return shared


def _all_paths(runs: Sequence[ScoredRun]) -> list[pa.Array]:
    return [run.rows["path"].combine_chunks() for run in runs]


def _check_labels(run: ScoredRun, rows: pa.Table, first: ScoredRun, labels: Sequence[str]) -> None:
    for path, one, other in zip(
        rows["path"].to_pylist(), labels, rows["label"].to_pylist(), strict=True
    ):
        if one != other:
            raise InputError(
                f"{path} is {one} in {first.uri} and {other} in {run.uri}; compare runs with the "
                "same labels."
            )


def _measure(
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


def _compare_to_first(
    run: ScoredRun,
    rows: pa.Table,
    first_rows: pa.Table,
    positive: str,
    result: Metrics,
    first_result: Metrics,
) -> Comparison:
    actual = np.array([label == positive for label in first_rows["label"].to_pylist()])
    enough = 2 <= actual.sum() <= len(actual) - 2
    one, other = (table["probability"].to_numpy() for table in (rows, first_rows))
    return Comparison(
        run=run.uri,
        delong=paired.delong(one, other, actual) if enough else None,
        mcnemar=paired.mcnemar(_is_right(rows), _is_right(first_rows)),
        differences=metrics.differences(result, first_result),
    )


def _is_right(rows: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(rows["prediction"], rows["label"]))
