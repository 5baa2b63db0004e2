"""`cnnjobs evaluate`."""

from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import MetricOption, OutputOption, ScoringOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import cell, counts, interval, table
from cnnjobs.config import EvaluateConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.evaluation.evaluate_summary import BesideSummary, EvaluateSummary
    from cnnjobs.evaluation.subgroups import Breakdown
    from cnnjobs.metrics import Interval

#: Metrics that a model of more than two classes has for each class.
_OF_A_CLASS = ("precision", "recall", "f1")

#: Columns of the table of the most wrong images.
_OF_AN_IMAGE = ("label", "prediction", "probability")


@job(
    app,
    "evaluate",
    EvaluateConfig,
    options={
        "output": OutputOption(
            "--output",
            "-o",
            metavar="DIR",
            help="Run directory for the metrics and predictions. Default: print only.",
        ),
        "beside": ScoringOption(
            "--beside",
            metavar="DATA",
            help="Other data to compare with, such as another hospital's: all its images are "
            "scored, and the drop of each metric is reported. Repeatable.",
        ),
        "by": MetricOption(
            "--by",
            metavar="COLUMN[:CUTS]",
            help="Break the metrics down by a column of the manifest, numbers by cuts: --by sex "
            "--by age:40,60. Repeatable.",
        ),
        "at": MetricOption(
            "--at",
            metavar="sensitivity=S|specificity=S",
            help="Report the threshold that reaches this sensitivity or specificity on these "
            "images, and what it costs. Repeatable.",
        ),
        "prevalence": MetricOption(
            metavar="SHARE",
            help="Share of positive cases where the model will be used; PPV and NPV are also "
            "reported for it, and for others in a table.",
        ),
        "audit": MetricOption(
            "--audit/--no-audit",
            help="Finish with a shortcut audit: how much of the AUROC survives without the lungs.",
        ),
    },
)
def evaluate() -> Job:
    """Compare predictions with known labels.

    AUROC, sensitivity, specificity, PPV, NPV, MCC, calibration and more on the test split, each
    with a 95% interval that allows for groups, that is, patients (docs/evaluation.md).

    Refuses to test on images that the model was trained on, also in --beside.

    cnnjobs evaluate runs/first manifest.parquet -o evaluated

    cnnjobs evaluate runs/first manifest.parquet --beside other-hospital.parquet
    """
    from cnnjobs.evaluation import evaluate as module

    return Job(module.evaluate, lambda config: module.plan(config).facts, evaluate_text)


def evaluate_text(summary: "EvaluateSummary") -> str:
    """Metrics, the confusion matrix, and the images that are most wrong."""
    parts = [
        f"{summary.model} on {counted(summary.num_images, 'image')} of split {summary.split} "
        f"({counts(summary.counts)})"
    ]
    if summary.num_failed:
        parts.append(f"left out, unreadable: {counted(summary.num_failed, 'image')}")
    if summary.num_unlabelled:
        parts.append(f"left out, without a label: {counted(summary.num_unlabelled, 'image')}")
    parts += _metrics(summary)
    if summary.positive is not None:
        parts.append(
            f"positive class {summary.positive}, predicted at probability {summary.threshold:g} or "
            "above"
        )
    if summary.temperature != 1:
        parts.append(
            f"calibrated with temperature {summary.temperature:.4g}; the metrics called "
            "uncalibrated are those without it"
        )
    if summary.undefined:
        parts.append(f"undefined: {summary.undefined}")
    confusion = [[actual, *row.values()] for actual, row in summary.confusion.items()]
    parts.append(table(["actual \\ predicted", *summary.confusion], confusion))
    if summary.most_wrong:
        columns = ("path", *_OF_AN_IMAGE)
        wrong = [[getattr(row, name) for name in columns] for row in summary.most_wrong]
        parts.append(table(["most wrong", *_OF_AN_IMAGE], wrong))
    parts += _points(summary)
    for breakdown in summary.subgroups:
        parts += _breakdown(breakdown)
    for other in summary.beside:
        parts += _beside(summary, other)
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    give_aways = summary.audit.give_aways if summary.audit is not None else ()
    parts += [f"warning: {alarm}" for alarm in (*summary.alarms, *give_aways)]
    if summary.plots:
        parts.append(f"plots: {summary.output}/plots")
    if summary.output:
        parts.append(f"predictions: {summary.output}/predictions")
        parts.append(f"run: {summary.output}")
    if summary.audit is not None:
        parts.append(summary.audit.line)
    return "\n".join(parts)


def _points(summary: "EvaluateSummary") -> list[str]:
    """Operating points, and PPV and NPV by prevalence."""
    parts = []
    if summary.operating_points:
        rows = [
            [
                point.at,
                point.threshold,
                _value(point.sensitivity, point.sensitivity_interval),
                _value(point.specificity, point.specificity_interval),
            ]
            for point in summary.operating_points
        ]
        parts.append(table(["at least", "threshold", "sensitivity", "specificity"], rows))
        parts.append("thresholds chosen on these images: expect less on new ones")
    if summary.prevalence_curve:
        rows = [
            [f"{at.prevalence:g}", _value(at.ppv, at.ppv_interval), _value(at.npv, at.npv_interval)]
            for at in summary.prevalence_curve
        ]
        parts.append(table(["prevalence", "ppv", "npv"], rows))
    return parts


def _breakdown(breakdown: "Breakdown") -> list[str]:
    """One row per subgroup, and the largest gap of each metric."""
    names = list(breakdown.subgroups[0].metrics) if breakdown.subgroups else []
    rows = [
        [
            each.value,
            each.num_images,
            *(_value(each.metrics[name], each.intervals[name]) for name in names),
        ]
        for each in breakdown.subgroups
    ]
    return [
        table([breakdown.by, "images", *names], rows),
        *(
            f"{each.value}: {each.no_intervals}"
            for each in breakdown.subgroups
            if each.no_intervals
        ),
        *(
            f"largest gap in {gap.metric}: "
            f"{_value(gap.difference.value, gap.difference.interval)}, {gap.highest} above "
            f"{gap.lowest}"
            for gap in breakdown.gaps
        ),
    ]


def _beside(summary: "EvaluateSummary", other: "BesideSummary") -> list[str]:
    """The metrics on both data sets side by side, and their drop."""
    parts = [
        f"compared with {counted(other.num_images, 'image')} of {other.data} "
        f"({counts(other.counts)})",
        table(
            ["metric", summary.split, "beside", "drop", "95% interval of the drop"],
            [
                [
                    name,
                    value,
                    other.metrics[name],
                    other.drops[name].value if name in other.drops else None,
                    interval(other.drops[name].interval if name in other.drops else None),
                ]
                for name, value in summary.metrics.items()
            ],
        ),
    ]
    if other.num_failed:
        parts.append(f"left out, unreadable: {counted(other.num_failed, 'image')}")
    if other.num_unlabelled:
        parts.append(f"left out, without a label: {counted(other.num_unlabelled, 'image')}")
    if other.undefined:
        parts.append(f"undefined: {other.undefined}")
    if other.warning:
        parts.append(f"warning: {other.warning}")
    parts += [f"warning: {alarm}" for alarm in other.alarms]
    if other.no_intervals:
        parts.append(other.no_intervals)
    return parts


def _metrics(summary: "EvaluateSummary") -> list[str]:
    """One line per metric; with more than two classes, a second table has one row per class."""
    header = ["metric", "value", *(["95% interval"] if summary.intervals else [])]
    by_class = {
        f"{kind}_{label}"
        for label in (summary.confusion if summary.positive is None else ())
        for kind in _OF_A_CLASS
    }
    shown = [
        [name, value, *([interval(summary.intervals.get(name))] if summary.intervals else [])]
        for name, value in summary.metrics.items()
        if name not in by_class
    ]
    parts = [table(header, shown)]
    if summary.intervals:
        parts.append(
            f"intervals allow for {counted(summary.num_groups, 'group')}; with few images, ece and "
            "its interval are too high"
        )
    if summary.no_intervals:
        parts.append(summary.no_intervals)
    if summary.prevalence is not None:
        parts.append(f"at_prevalence: for a share of {summary.prevalence:g} positive images")
    if by_class:
        rows = [
            [label, *(_with_interval(summary, f"{kind}_{label}") for kind in _OF_A_CLASS)]
            for label in summary.confusion
        ]
        parts.append(table(["class", *_OF_A_CLASS], rows))
    return parts


def _with_interval(summary: "EvaluateSummary", name: str) -> str:
    return _value(summary.metrics[name], summary.intervals.get(name))


def _value(value: float | None, bounds: "Interval | None") -> str:
    return cell(value) + (f" ({interval(bounds)})" if bounds is not None else "")
