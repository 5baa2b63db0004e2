"""What `crossval` found, as text for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.tables import table

if TYPE_CHECKING:
    from cnnjobs.metrics.cross_validation import Estimate
    from cnnjobs.training.crossval import CrossvalSummary
    from cnnjobs.training.fold_metrics import FoldResult

#: Metrics in the table of trainings, where there are such; --json has all.
_SHOWN = ("auroc", "sensitivity", "specificity", "accuracy", "macro_f1")


def crossval_text(summary: "CrossvalSummary") -> str:
    """The mean of each metric over the folds, and what is left of it on a source never seen."""
    left_over = "".join(f", left over: {n} {why}" for why, n in summary.left_over.items())
    parts = [
        f"{summary.architecture} on {summary.num_images} images in {summary.num_groups} groups"
        f"{left_over}, {len(summary.folds) + len(summary.sources)} trainings in "
        f"{summary.seconds:.0f} s"
    ]
    if summary.folds:
        parts += _of_folds(summary)
    if summary.sources or summary.not_left_out:
        parts += _of_sources(summary)
    if summary.positive is not None:
        parts.append(f"positive class: {summary.positive}")
    failed = sum(each.num_failed for each in (*summary.folds, *summary.sources))
    if failed:
        parts.append(f"not scored, unreadable: {failed} images")
    parts += [f"warning: {warning}" for warning in summary.warnings]
    parts.append(f"predictions: {summary.output}/predictions")
    parts += [f"drawn: {summary.output}/plots/{name}" for name in summary.plots]
    return "\n".join(parts)


def _of_folds(summary: "CrossvalSummary") -> list[str]:
    names = [name for name in _SHOWN if name in summary.estimates]
    rows = [
        [each.name, each.num_train, each.num_test, *(each.metrics[name] for name in names)]
        for each in summary.folds
    ]
    means = [[name, its.mean, its.sd, _ends(its)] for name, its in summary.estimates.items()]
    return [
        table(["tested on", "trained", "tested", *names], rows),
        table(["metric", "mean", "sd", "95 % interval"], means),
        "intervals: corrected for folds that share training images (Nadeau and Bengio 2003)",
    ]


def _of_sources(summary: "CrossvalSummary") -> list[str]:
    rows = [
        [
            each.left_out,
            each.num_train,
            _counts(each),
            *(each.metrics.get(name) for name in _names(summary.sources)),
            _interval(each),
        ]
        for each in summary.sources
    ]
    header = ["source left out", "trained", "tested", *_names(summary.sources), "95 % of auroc"]
    inside = summary.estimates.get("auroc")
    return [
        *([table(header, rows)] if rows else []),
        *([f"folds of all sources: auroc {inside.mean:.4f} ({_ends(inside)})"] if inside else []),
        *(f"{each.left_out}: {each.undefined}" for each in summary.sources if each.undefined),
        *(f"{each.left_out}: {each.no_intervals}" for each in summary.sources if each.no_intervals),
        *(f"not left out: {name}, {why}" for name, why in summary.not_left_out.items()),
    ]


def _names(results: Sequence["FoldResult"]) -> list[str]:
    return [name for name in _SHOWN if results and name in results[0].metrics]


def _counts(result: "FoldResult") -> str:
    return ", ".join(f"{label} {number}" for label, number in result.counts.items())


def _ends(its: "Estimate") -> str:
    return "-" if its.low is None or its.high is None else f"{its.low:.4f} to {its.high:.4f}"


def _interval(result: "FoldResult") -> str:
    ends = result.intervals.get("auroc")
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
