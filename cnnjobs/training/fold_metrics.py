"""Metrics of each training of a cross-validation on its test images, and over all of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.errors import TrainingError
from cnnjobs.evaluation import prediction_metrics
from cnnjobs.imaging import plots as image_plots
from cnnjobs.metrics import Bootstrap, Interval
from cnnjobs.metrics.cross_validation import Estimate, estimate
from cnnjobs.models.bundle import Bundle
from cnnjobs.training import plots
from cnnjobs.training.folds import Fold

#: Metrics in the plot.
_PLOTTED = ("auroc", "auprc", "accuracy", "sensitivity", "specificity", "macro_f1")

#: Of the metrics that do not range from 0 to 1; a multiclass Brier score sums over the classes.
_BOUNDS = {"mcc": (-1.0, 1.0), "brier": (0.0, 2.0), "brier_uncalibrated": (0.0, 2.0)}


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """A training and its test.

    `counts` are the tested images by class, `num_failed` those that could not be read. Only a
    source left out, whose images are an independent sample, has `intervals`; see
    `metrics.Metrics`.
    """

    name: str
    repeat: int | None
    fold: int | None
    left_out: str | None
    bundle: str
    num_train: int
    num_validation: int
    num_test: int
    num_failed: int
    counts: Mapping[str, int]
    threshold: float
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None
    undefined: str | None


def measured(
    fold: Fold,
    predictions: pa.Table,
    bundle: Bundle,
    group_of: Mapping[str, str],
    *,
    seed: int,
    calibrate: bool = False,
) -> FoldResult:
    """Compare the predictions of one training with their labels.

    With `calibrate`, every fold has the calibration metrics without temperature, also one whose
    best temperature is 1.

    Raises:
        TrainingError: none of the images could be scored.
    """
    scored = predictions.filter(pc.is_null(predictions["error"]))
    if not scored.num_rows:
        raise TrainingError(
            f"{fold.name}: none of the {predictions.num_rows} test images could be read, starting "
            f"with {predictions['path'][0]} ({predictions['error'][0]}); index them again."
        )
    bootstrap = None
    if fold.left_out is not None:
        groups = [group_of[path] for path in scored["path"].to_pylist()]
        bootstrap = Bootstrap(groups=groups, seed=seed)
    measures = prediction_metrics.measure(scored, bundle, bootstrap=bootstrap, calibrated=calibrate)
    splits = Counter(fold.splits)
    return FoldResult(
        name=fold.name,
        repeat=fold.repeat,
        fold=fold.number,
        left_out=fold.left_out,
        bundle=bundle.uri,
        num_train=splits[TRAIN],
        num_validation=splits[VALIDATION],
        num_test=scored.num_rows,
        num_failed=predictions.num_rows - scored.num_rows,
        counts=dict(sorted(Counter(scored["label"].to_pylist()).items())),
        threshold=bundle.threshold,
        metrics=measures.values,
        intervals=measures.intervals,
        no_intervals=measures.no_intervals,
        undefined=measures.undefined,
    )


def estimates(results: Sequence[FoldResult], *, folds: int) -> dict[str, Estimate]:
    """The estimate of each metric that any fold has, over those that define it."""
    return {
        name: estimate(
            _known(results, name),
            test_share=1 / (folds - 1),
            bounds=_BOUNDS.get(name, (0.0, 1.0)),
            undefined=_undefined(results, name),
        )
        for name in dict.fromkeys(name for each in results for name in each.metrics)
    }


def draw(
    folder: str,
    folds: Sequence[FoldResult],
    means: Mapping[str, Estimate],
    sources: Sequence[FoldResult],
    figures: str = "png",
) -> list[str]:
    """Draw the metrics of each fold, their means with intervals, and AUROC by source left out.

    Returns:
        names of the files written to the folder: none, if there are no folds and no source has an
        AUROC.
    """
    shown = {name: means[name] for name in _PLOTTED if name in means}
    values = {name: _known(folds, name) for name in shown}
    intervals = {
        name: (each.mean, each.low, each.high)
        for name, each in shown.items()
        if each.mean is not None
    }
    by_source = {
        each.name: (auroc, *(each.intervals.get("auroc") or (None, None)))
        for each in sources
        if (auroc := each.metrics.get("auroc")) is not None
    }
    if not intervals and not by_source:
        return []
    drawn = plots.fold_metrics(values, intervals, by_source)
    return image_plots.write(folder, "crossval", drawn, figures)


def _known(results: Sequence[FoldResult], name: str) -> list[float]:
    """A metric of the folds that define it."""
    return [value for each in results if (value := each.metrics.get(name)) is not None]


def _undefined(results: Sequence[FoldResult], name: str) -> str | None:
    """In how many folds the metric is undefined, and why if one of them says so."""
    without = [each for each in results if each.metrics.get(name) is None]
    if not without:
        return None
    reason = next((f": {each.undefined}" for each in without if each.undefined), "")
    return f"undefined in {len(without)} of {len(results)} folds{reason}"
