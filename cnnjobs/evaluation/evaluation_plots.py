"""The pictures of an evaluation, from rows that were scored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.data.plots import grid
from cnnjobs.evaluation import plots, prediction_metrics
from cnnjobs.evaluation.prediction_metrics import Scores
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.reading import Policy
from cnnjobs.metrics import Bootstrap, Metrics, curves, reliability
from cnnjobs.metrics.curves import Curve
from cnnjobs.models.bundle import Bundle

#: Images in a grid, and side by side.
_IN_GRID, _COLUMNS = 12, 4


def pictures(
    scored: pa.Table,
    bundle: Bundle,
    measured: Metrics,
    *,
    prevalence: float | None = None,
    bootstrap: Bootstrap | None = None,
    beside: Mapping[str, pa.Table] | None = None,
    policy: Policy,
) -> Iterator[tuple[str, bytes]]:
    """File name and PNG of each picture that makes sense: of one class alone there is no curve.

    Args:
        scored: rows with a label and a score.
        bundle: of the model.
        measured: of these rows.
        prevalence: of the decision curve; None: that of the rows.
        bootstrap: how to make bands; its seed also draws the samples.
        beside: rows of other sets by their data, for the ROC curve.
        policy: with which the images were read.
    """
    yield "confusion.png", plots.confusion(measured.confusion)
    if bundle.positive is not None:
        yield from _of_two(scored, bundle, measured, prevalence, bootstrap, beside or {})
    else:
        yield "reliability.png", _reliability_of_many(scored, bundle, measured)
        seed = bootstrap.seed if bootstrap is not None else 0
        drawn = np.random.default_rng(seed).permutation(scored.num_rows)[:_IN_GRID]
        yield from _grid("samples.png", _rows(scored.take(np.sort(drawn)), bundle), bundle, policy)
        wrong = prediction_metrics.most_wrong(scored, bundle, _IN_GRID)
        yield from _grid("wrong.png", wrong, bundle, policy)


def _of_two(
    scored: pa.Table,
    bundle: Bundle,
    measured: Metrics,
    prevalence: float | None,
    bootstrap: Bootstrap | None,
    beside: Mapping[str, pa.Table],
) -> Iterator[tuple[str, bytes]]:
    assert bundle.positive is not None
    probabilities = prediction_metrics.scores(scored, bundle)[:, 0]
    actual = _is_positive(scored, bundle)
    names = {name: actual == (name == bundle.positive) for name in bundle.labels}
    yield (
        "probabilities.png",
        plots.probabilities(
            {name: probabilities[those] for name, those in names.items() if those.any()},
            threshold=bundle.threshold,
            positive=bundle.positive,
        ),
    )
    if measured.values["auroc"] is None:
        return
    values = {name: float(value) for name, value in measured.values.items() if value is not None}
    yield (
        "roc.png",
        plots.roc(
            curves.roc(probabilities, actual, bootstrap),
            title=_with_interval("AUROC", measured, "auroc"),
            threshold=(1 - values["specificity"], values["sensitivity"]),
            others=_other_curves(beside, bundle),
        ),
    )
    yield (
        "precision_recall.png",
        plots.precision_recall(
            curves.precision_recall(probabilities, actual, bootstrap),
            title=_with_interval("Average precision", measured, "auprc"),
            threshold=(values["sensitivity"], values["ppv"]) if "ppv" in values else None,
            prevalence=float(actual.mean()),
        ),
    )
    given = _calibrated_and_not(probabilities[:, np.newaxis], bundle)
    yield (
        "reliability.png",
        plots.reliability(
            {name: reliability.bins(its[:, 0], actual) for name, its in given.items()},
            title=_calibration_title(measured),
            confidence=f"probability of {bundle.positive}",
            share=f"share of {bundle.positive} (95 % interval)",
        ),
    )
    yield (
        "decision_curve.png",
        plots.decision_curve(
            curves.decision(probabilities, actual, prevalence=prevalence, bootstrap=bootstrap),
            prevalence=float(actual.mean()) if prevalence is None else prevalence,
            threshold=bundle.threshold,
        ),
    )


def _other_curves(beside: Mapping[str, pa.Table], bundle: Bundle) -> dict[str, Curve]:
    """ROC curves of the sets that have both classes."""
    found = {}
    for place, (data, scored) in enumerate(beside.items(), 1):
        actual = _is_positive(scored, bundle)
        if 0 < actual.sum() < len(actual):
            name = data.rstrip("/").rpartition("/")[2]
            found[f"beside {place}: {name[:24]}"] = curves.roc(
                prediction_metrics.scores(scored, bundle)[:, 0], actual
            )
    return found


def _reliability_of_many(scored: pa.Table, bundle: Bundle, measured: Metrics) -> bytes:
    """Of the predicted class' probability, and of being right."""
    probabilities = prediction_metrics.scores(scored, bundle)
    place = {label: column for column, label in enumerate(bundle.labels)}
    actual = np.array([place[label] for label in scored["label"].to_pylist()])
    return plots.reliability(
        {
            name: reliability.bins(its.max(axis=1), its.argmax(axis=1) == actual)
            for name, its in _calibrated_and_not(probabilities, bundle).items()
        },
        title=_calibration_title(measured),
        confidence="probability of the predicted class",
        share="share that is right (95 % interval)",
    )


def _calibrated_and_not(given: Scores, bundle: Bundle) -> dict[str, Scores]:
    """The probabilities, and where there is a temperature those before it."""
    raw = prediction_metrics.uncalibrated(given, bundle)
    return {"model": given} if raw is None else {"calibrated": given, "uncalibrated": raw}


def _calibration_title(measured: Metrics) -> str:
    raw = measured.values.get("ece_uncalibrated")
    was = f", uncalibrated {raw:.4f}" if raw is not None else ""
    return f"Calibration error (ECE) {measured.values['ece']:.4f}{was}"


def _with_interval(title: str, measured: Metrics, name: str) -> str:
    ends = measured.intervals.get(name)
    between = f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends is not None else ""
    return f"{title} {measured.values[name]:.4f}{between}"


def _rows(scored: pa.Table, bundle: Bundle) -> list[dict[str, Any]]:
    """As `measuring.most_wrong` gives them, right or wrong."""
    largest = prediction_metrics.of_classes(scored, bundle).max(axis=1)
    rows = scored.select(["path", "label", "prediction"]).to_pylist()
    return [row | {"probability": float(p)} for row, p in zip(rows, largest, strict=True)]


def _grid(
    name: str, rows: Sequence[Mapping[str, Any]], bundle: Bundle, policy: Policy
) -> Iterator[tuple[str, bytes]]:
    """The images as the model sees them, under the lab sheet's title; nothing without images."""
    shown = []
    for row in rows:
        decoded = reading.decoded(reading.read_image(row["path"]), bundle.preprocessing, policy)
        assert isinstance(decoded, preprocessing.Decoded)
        title = f"True: {row['label']}, Predicted: {row['prediction']}"
        shown.append((f"{title}\nprobability {row['probability']:.3f}", decoded.pixels[:, :, 0]))
    if shown:
        yield name, grid(shown, columns=_COLUMNS)


def _is_positive(scored: pa.Table, bundle: Bundle) -> NDArray[np.bool_]:
    return np.array([label == bundle.positive for label in scored["label"].to_pylist()], bool)
