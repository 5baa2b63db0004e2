"""What `evaluate` found, as text for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from cnnjobs.evaluation.evaluate import BesideSummary, EvaluateSummary

#: Metrics that a model of many classes has of each.
_OF_A_CLASS = ("precision", "recall", "f1")

#: What is told of an image that is most wrong.
_OF_AN_IMAGE = ("label", "prediction", "probability")


def evaluate_text(summary: "EvaluateSummary") -> str:
    """Metrics, the confusion matrix, and the images that are most wrong."""
    counts = ", ".join(f"{label} {images}" for label, images in summary.counts.items())
    parts = [f"{summary.model} on {summary.num_images} images of split {summary.split} ({counts})"]
    if summary.num_failed:
        parts.append(f"left out, unreadable: {summary.num_failed} images")
    if summary.num_unlabelled:
        parts.append(f"left out, without a label: {summary.num_unlabelled} images")
    parts += _metrics(summary)
    if summary.positive is not None:
        parts.append(f"positive class {summary.positive}, predicted from {summary.threshold:g} on")
    if summary.temperature != 1:
        parts.append(
            f"calibrated with the temperature {summary.temperature:.4g}; without it the Brier "
            "score and ECE are those called uncalibrated"
        )
    if summary.undefined:
        parts.append(f"undefined: {summary.undefined}")
    labels = list(summary.confusion)
    rows = [[name, *(summary.confusion[name][other] for other in labels)] for name in labels]
    parts.append(table(["actual \\ predicted", *labels], rows))
    if summary.most_wrong:
        columns = ("path", *_OF_AN_IMAGE)
        wrong = [[getattr(row, name) for name in columns] for row in summary.most_wrong]
        parts.append(table(["most wrong", *_OF_AN_IMAGE], wrong))
    for other in summary.beside:
        parts += _beside(summary, other)
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    if summary.plots:
        parts.append(f"drawn: {summary.output}/plots")
    if summary.output:
        parts.append(f"label and prediction of each image: {summary.output}/predictions")
        parts.append(f"run: {summary.output}")
    if summary.audit is not None:
        parts.append(summary.audit.line)
    return "\n".join(parts)


def _beside(summary: "EvaluateSummary", other: "BesideSummary") -> list[str]:
    """Both sets in columns side by side, with what is lost on the way."""
    parts = [
        f"beside it, {other.num_images} images of {other.data} ({_listed(other.counts)})",
        table(
            ["metric", summary.split, "beside", "drop", "95 % interval of the drop"],
            [
                [
                    name,
                    value,
                    other.metrics[name],
                    other.drops[name].value if name in other.drops else None,
                    _interval(other.drops[name].interval if name in other.drops else None),
                ]
                for name, value in summary.metrics.items()
            ],
        ),
    ]
    if other.num_failed:
        parts.append(f"left out, unreadable: {other.num_failed} images")
    if other.num_unlabelled:
        parts.append(f"left out, without a label: {other.num_unlabelled} images")
    told = {"undefined": other.undefined, "warning": other.warning}
    parts += [f"{name}: {text}" for name, text in told.items() if text]
    return [*parts, *([other.no_intervals] if other.no_intervals else [])]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {images}" for label, images in counts.items())


def _metrics(summary: "EvaluateSummary") -> list[str]:
    """A line a metric; with many classes those of each class in a table of their own."""
    header = ["metric", "value", *(["95 % interval"] if summary.intervals else [])]
    by_class = {
        f"{kind}_{label}"
        for label in (summary.confusion if summary.positive is None else ())
        for kind in _OF_A_CLASS
    }
    shown = [
        [name, value, *([_interval(summary.intervals.get(name))] if summary.intervals else [])]
        for name, value in summary.metrics.items()
        if name not in by_class
    ]
    parts = [table(header, shown)]
    if summary.intervals:
        parts.append(
            f"intervals: resamples of {summary.num_groups} groups; few images raise ece and its "
            "interval"
        )
    if summary.no_intervals:
        parts.append(summary.no_intervals)
    if summary.prevalence is not None:
        parts.append(f"at_prevalence: if {summary.prevalence:g} of the images were positive")
    if by_class:
        rows = [
            [label, *(_with_interval(summary, f"{kind}_{label}") for kind in _OF_A_CLASS)]
            for label in summary.confusion
        ]
        parts.append(table(["class", *_OF_A_CLASS], rows))
    return parts


def _with_interval(summary: "EvaluateSummary", name: str) -> str:
    ends = summary.intervals.get(name)
    return number(summary.metrics[name]) + (f" ({_interval(ends)})" if ends is not None else "")


def _interval(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def number(value: float | None) -> str:
    """A metric to four decimals, a dash where it is undefined."""
    return "-" if value is None else f"{value:.4f}"
