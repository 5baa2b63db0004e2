"""`cnnjobs crossval`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ClusterOption, FoldOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import cell, counts, interval, table
from cnnjobs.config import CrossvalConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.metrics.cross_validation import Estimate
    from cnnjobs.training.crossval import CrossvalSummary
    from cnnjobs.training.fold_metrics import FoldResult

#: Metrics shown per training, if it has them; --json has all.
_SHOWN = ("auroc", "sensitivity", "specificity", "accuracy", "macro_f1")


@job(
    app,
    "crossval",
    CrossvalConfig,
    options={
        "folds": FoldOption(
            help="Parts of the data set; each is tested once. 0 with --leave-out: no folds."
        ),
        "repeats": FoldOption(
            help="Repetitions of everything, each with other folds and initial weights."
        ),
        "leave_out": FoldOption(
            metavar="source", help="Also train without each source, and test on it."
        ),
        "validation": FoldOption(
            metavar="SHARE", help="Share of the images outside the test for validation."
        ),
        "parallel": ClusterOption(
            help="Trainings at a time; they share the CPUs. Default: one per GPU, else one per CPU."
        ),
    },
)
def crossval() -> Job:
    """Train and test on folds; report mean and spread.

    Every labelled image is tested by a model that has not seen it, its group or its copies; the
    splits of the manifest are ignored. --leave-out source tests on collections the model has
    never seen, which is closer to what another hospital would see. --resume skips trainings
    that are finished.

    cnnjobs crossval manifest.parquet --leave-out source -o runs/crossval
    """
    from cnnjobs.training.crossval import crossval as run
    from cnnjobs.training.crossval_plan import plan

    return Job(run, lambda config: plan(config).facts, crossval_text)


def crossval_text(summary: "CrossvalSummary") -> str:
    """The mean of each metric over the folds, and the metrics on sources never seen."""
    left_over = "".join(f", left over: {n} {why}" for why, n in summary.left_over.items())
    parts = [
        f"{summary.architecture} on {counted(summary.num_images, 'image')} in "
        f"{counted(summary.num_groups, 'group')}"
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
        parts.append(f"not scored, unreadable: {counted(failed, 'image')}")
    parts += [f"warning: {warning}" for warning in summary.warnings]
    parts.append(f"predictions: {summary.output}/predictions")
    parts += [f"plot: {summary.output}/plots/{name}" for name in summary.plots]
    return "\n".join(parts)


def _of_folds(summary: "CrossvalSummary") -> list[str]:
    names = [name for name in _SHOWN if name in summary.estimates]
    rows = [
        [each.name, each.num_train, each.num_test, *(each.metrics.get(name) for name in names)]
        for each in summary.folds
    ]
    means = [
        [name, estimate.mean, estimate.sd, _bounds(estimate)]
        for name, estimate in summary.estimates.items()
    ]
    return [
        table(["tested on", "trained", "tested", *names], rows),
        table(["metric", "mean", "sd", "95% interval"], means),
        "intervals: corrected for folds that share training images (Nadeau and Bengio 2003)",
        *_undefined(summary.estimates),
    ]


def _undefined(estimates: Mapping[str, "Estimate"]) -> list[str]:
    """A line per reason why something of an estimate is missing, with the metrics it is true of."""
    names: dict[str, list[str]] = {}
    for name, estimate in estimates.items():
        if estimate.undefined is not None:
            names.setdefault(estimate.undefined, []).append(name)
    return [f"{', '.join(of_reason)}: {reason}" for reason, of_reason in names.items()]


def _of_sources(summary: "CrossvalSummary") -> list[str]:
    rows = [
        [
            each.left_out,
            each.num_train,
            counts(each.counts),
            *(each.metrics.get(name) for name in _names(summary.sources)),
            interval(each.intervals.get("auroc")),
        ]
        for each in summary.sources
    ]
    header = ["source left out", "trained", "tested", *_names(summary.sources), "95% of auroc"]
    auroc = summary.estimates.get("auroc")
    return [
        *([table(header, rows)] if rows else []),
        *([f"folds of all sources: auroc {cell(auroc.mean)} ({_bounds(auroc)})"] if auroc else []),
        *(f"{each.left_out}: {each.undefined}" for each in summary.sources if each.undefined),
        *(f"{each.left_out}: {each.no_intervals}" for each in summary.sources if each.no_intervals),
        *(f"not left out: {name}, {why}" for name, why in summary.not_left_out.items()),
    ]


def _names(results: Sequence["FoldResult"]) -> list[str]:
    return [name for name in _SHOWN if any(name in each.metrics for each in results)]


def _bounds(estimate: "Estimate") -> str:
    low, high = estimate.low, estimate.high
    return interval(None if low is None or high is None else (low, high))
