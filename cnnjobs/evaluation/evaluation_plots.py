"""Which plots an evaluation gets, from its prediction rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.data.plots import grid
from cnnjobs.evaluation import plots, prediction_metrics
from cnnjobs.evaluation.prediction_metrics import Probabilities
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.reading import Policy
from cnnjobs.metrics import Bootstrap, Metrics, curves, reliability
from cnnjobs.metrics.curves import Curve
from cnnjobs.models.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Images in a grid, and per row of it.
_IN_GRID, _COLUMNS = 12, 4


def draw(
    scored: pa.Table,
    bundle: Bundle,
    measured: Metrics,
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
    beside: Mapping[str, pa.Table] | None = None,
    policy: Policy,
) -> Iterator[tuple[str, "Figure"]]:
    """Name and figure of each plot that is defined; one class alone has no curves.

    Args:
        scored: rows with a label and a score.
        bundle: of the model.
        measured: metrics of these rows.
        prevalence: for the decision curve; None: the rows' prevalence.
        bootstrap: for bands; its seed also draws the sample images.
        beside: rows of other sets by their data, for the ROC curve.
        policy: with which the images were read.
    """
    yield "confusion", plots.confusion(measured.confusion)
    if bundle.positive is not None:
        yield from _binary_plots(scored, bundle, measured, prevalence, bootstrap, beside or {})
    else:
        yield "reliability", _multiclass_reliability(scored, bundle, measured)
        seed = bootstrap.seed if bootstrap is not None else 0
        sample = np.random.default_rng(seed).permutation(scored.num_rows)[:_IN_GRID]
        rows = _rows(scored.take(np.sort(sample)), bundle)
        yield from _image_grid("samples", rows, bundle, policy)
        wrong = prediction_metrics.most_wrong(scored, bundle, _IN_GRID)
        yield from _image_grid("wrong", wrong, bundle, policy)


def _binary_plots(
    scored: pa.Table,
    bundle: Bundle,
    measured: Metrics,
    prevalence: float | None,
    bootstrap: Bootstrap | None,
    beside: Mapping[str, pa.Table],
) -> Iterator[tuple[str, "Figure"]]:
    assert bundle.positive is not None
    probabilities = prediction_metrics.probabilities(scored, bundle)[:, 0]
    actual = _is_positive(scored, bundle)
    members = {name: actual == (name == bundle.positive) for name in bundle.labels}
    yield (
        "probabilities",
        plots.probabilities(
            {name: probabilities[mask] for name, mask in members.items() if mask.any()},
            threshold=bundle.threshold,
            positive=bundle.positive,
        ),
    )
    if measured.values["auroc"] is None:
        return
    values = {name: float(value) for name, value in measured.values.items() if value is not None}
    yield (
        "roc",
        plots.roc(
            curves.roc(probabilities, actual, bootstrap),
            title=_with_interval("AUROC", measured, "auroc"),
            threshold=(1 - values["specificity"], values["sensitivity"]),
            others=_other_curves(beside, bundle),
        ),
    )
    yield (
        "precision_recall",
        plots.precision_recall(
            curves.precision_recall(probabilities, actual, bootstrap),
            title=_with_interval("Average precision", measured, "auprc"),
            threshold=(values["sensitivity"], values["ppv"]) if "ppv" in values else None,
            prevalence=float(actual.mean()),
        ),
    )
    series = _with_uncalibrated(probabilities[:, np.newaxis], bundle)
    yield (
        "reliability",
        plots.reliability(
            {name: reliability.bins(values[:, 0], actual) for name, values in series.items()},
            title=_calibration_title(measured),
            confidence=f"probability of {bundle.positive}",
            share=f"share of {bundle.positive} (95% interval)",
        ),
    )
    yield (
        "decision_curve",
        plots.decision_curve(
            curves.decision(probabilities, actual, prevalence=prevalence, bootstrap=bootstrap),
            prevalence=float(actual.mean()) if prevalence is None else prevalence,
            threshold=bundle.threshold,
        ),
    )


def _other_curves(beside: Mapping[str, pa.Table], bundle: Bundle) -> dict[str, Curve]:
    """ROC curves of the sets that have both classes."""
    found = {}
    for number, (data, scored) in enumerate(beside.items(), 1):
        actual = _is_positive(scored, bundle)
        if 0 < actual.sum() < len(actual):
            name = data.rstrip("/").rpartition("/")[2]
            found[f"beside {number}: {name[:24]}"] = curves.roc(
                prediction_metrics.probabilities(scored, bundle)[:, 0], actual
            )
    return found


def _multiclass_reliability(scored: pa.Table, bundle: Bundle, measured: Metrics) -> "Figure":
    """Share of correct predictions over the predicted class's probability."""
    probabilities = prediction_metrics.probabilities(scored, bundle)
    column_of = {label: column for column, label in enumerate(bundle.labels)}
    actual = np.array([column_of[label] for label in scored["label"].to_pylist()])
    return plots.reliability(
        {
            name: reliability.bins(values.max(axis=1), values.argmax(axis=1) == actual)
            for name, values in _with_uncalibrated(probabilities, bundle).items()
        },
        title=_calibration_title(measured),
        confidence="probability of the predicted class",
        share="share correct (95% interval)",
    )


def _with_uncalibrated(probabilities: Probabilities, bundle: Bundle) -> dict[str, Probabilities]:
    """The probabilities and, if the bundle has a temperature, those without it."""
    raw = prediction_metrics.uncalibrated(probabilities, bundle)
    if raw is None:
        return {"model": probabilities}
    return {"calibrated": probabilities, "uncalibrated": raw}


def _calibration_title(measured: Metrics) -> str:
    raw = measured.values.get("ece_uncalibrated")
    uncalibrated = f", uncalibrated {raw:.2f}" if raw is not None else ""
    return f"Calibration error (ECE) {measured.values['ece']:.2f}{uncalibrated}"


def _with_interval(title: str, measured: Metrics, name: str) -> str:
    ends = measured.intervals.get(name)
    interval = f" (95% interval {ends[0]:.2f} to {ends[1]:.2f})" if ends is not None else ""
    return f"{title} {measured.values[name]:.2f}{interval}"


def _rows(scored: pa.Table, bundle: Bundle) -> list[dict[str, Any]]:
    """Rows as of `prediction_metrics.most_wrong`, right or wrong."""
    largest = prediction_metrics.class_probabilities(scored, bundle).max(axis=1)
    rows = scored.select(["path", "label", "prediction"]).to_pylist()
    return [row | {"probability": float(p)} for row, p in zip(rows, largest, strict=True)]


def _image_grid(
    name: str, rows: Sequence[Mapping[str, Any]], bundle: Bundle, policy: Policy
) -> Iterator[tuple[str, "Figure"]]:
    """The model's input images, under the titles of the lab sheet; nothing without rows."""
    titled, aspects = [], []
    for row in rows:
        decoded = reading.decoded(reading.read_image(row["path"]), bundle.preprocessing, policy)
        assert isinstance(decoded, preprocessing.Decoded)
        title = f"True: {row['label']}, Predicted: {row['prediction']}"
        titled.append((f"{title}\nprobability {row['probability']:.3f}", decoded.pixels[:, :, 0]))
        aspects.append(bundle.preprocessing.aspect(decoded.height, decoded.width))
    if titled:
        yield name, grid(titled, columns=_COLUMNS, aspects=aspects)


def _is_positive(scored: pa.Table, bundle: Bundle) -> NDArray[np.bool_]:
    return np.array([label == bundle.positive for label in scored["label"].to_pylist()], bool)
