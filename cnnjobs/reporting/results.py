"""From runs to key figures and the section on evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.config.printable import counted
from cnnjobs.reporting.blocks import Section, Table, Tile, to_text
from cnnjobs.reporting.formatting import (
    BINARY_KEY_METRICS,
    MULTICLASS_KEY_METRICS,
    display_name,
    interval,
    number,
    with_interval,
)
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.reporting.sections import plots_of

#: Metrics that a model of more than two classes has for each of them.
_CLASS_METRICS = ("precision", "recall", "f1")


def tiles(runs: Sequence[InputRun]) -> list[Tile]:
    """The key figures of the first evaluation, with their intervals."""
    run = next((run for run in runs if run.command == "evaluate" and run.summary), None)
    if run is None:
        return []
    summary = run.summary
    is_binary = summary.get("positive") is not None
    return [
        *(
            Tile(
                name=display_name(name),
                value=number(summary["metrics"][name]),
                note=f"95% interval {interval(summary['intervals'].get(name))}",
            )
            for name in (BINARY_KEY_METRICS if is_binary else MULTICLASS_KEY_METRICS)
            if summary["metrics"].get(name) is not None
        ),
        Tile(
            name="Test images",
            value=f"{summary['num_images']:,}",
            note=f"{counted(summary['num_groups'], 'group')}, split {summary['split']}",
        ),
    ]


def evaluation_section(runs: Sequence[InputRun]) -> Section | None:
    """Metrics with intervals, the confusion matrix and the plots of each evaluation."""
    runs = [run for run in runs if run.command == "evaluate"]
    if not runs:
        return None
    finished = [run for run in runs if run.summary]
    return Section(
        name="evaluation",
        title="Evaluation",
        text=[_test_set(run) for run in finished],
        warnings=[text for run in finished for text in _warnings(run.summary)],
        tables=[table for run in finished for table in _tables(run.summary)],
        figures=[figure for run in finished for figure in plots_of(run, _alts(run.summary))],
    )


def confusion_table(confusion: Mapping[str, Mapping[str, int]]) -> Table:
    """Images by actual and predicted class."""
    return Table(
        caption="Confusion matrix: actual classes in rows, predicted classes in columns.",
        header=["actual \\ predicted", *confusion],
        rows=[
            [actual, *(to_text(row.get(predicted, 0)) for predicted in confusion)]
            for actual, row in confusion.items()
        ],
    )


def _test_set(run: InputRun) -> str:
    summary = run.summary
    text = (
        f"{counted(summary['num_images'], 'image')} from "
        f"{counted(summary['num_groups'], 'group')} "
        f"({to_text(summary['counts'])}), split {summary['split']} of {run.config['data']}"
    )
    if summary.get("positive") is None:
        return f"{text}."
    threshold = to_text(summary["threshold"])
    return f"{text}; {summary['positive']} is predicted at a probability of {threshold} or more."


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    warnings = [
        f"Images left out because they {why}: {summary[name]:,}." if summary.get(name) else None
        for name, why in (
            ("num_failed", "could not be read"),
            ("num_unlabelled", "have no label"),
        )
    ]
    sentences = [summary.get(name) for name in ("warning", "undefined", "no_intervals")]
    found = [*warnings, *sentences, *(summary.get("alarms") or ())]
    return [text[0].upper() + text[1:] for text in found if text]


def _tables(summary: Mapping[str, Any]) -> list[Table]:
    labels = list(summary["confusion"])
    by_class: set[str] = set()
    if summary.get("positive") is None:
        by_class = {f"{metric}_{label}" for label in labels for metric in _CLASS_METRICS}
    tables = [
        Table(
            caption=f"Metrics on split {summary['split']}{_resamples(summary)}.",
            header=["metric", "value", "95% interval"],
            rows=[
                [display_name(name), number(value), interval(summary["intervals"].get(name))]
                for name, value in summary["metrics"].items()
                if name not in by_class
            ],
        ),
        confusion_table(summary["confusion"]),
    ]
    if by_class:
        tables.append(_by_class(summary, labels))
    return [*tables, *map(_breakdown, summary.get("subgroups") or ()), *_points(summary)]


def _breakdown(breakdown: Mapping[str, Any]) -> Table:
    names = list(breakdown["subgroups"][0]["metrics"])
    # `age:40,60` has the cuts in the names of its subgroups, too
    column = breakdown["by"].partition(":")[0]
    gaps = [
        f"{display_name(gap['metric'])} {number(gap['difference']['value'])} "
        f"({interval(gap['difference']['interval'])}), {gap['highest']} above {gap['lowest']}"
        for gap in breakdown["gaps"]
    ]
    return Table(
        caption=f"By {column}. Largest gaps: {'; '.join(gaps) or 'none known'}.",
        header=[column, "images", *map(display_name, names)],
        rows=[
            [
                each["value"],
                f"{each['num_images']:,}",
                *(with_interval(each["metrics"][name], each["intervals"][name]) for name in names),
            ]
            for each in breakdown["subgroups"]
        ],
    )


def _points(summary: Mapping[str, Any]) -> list[Table]:
    """Operating points, and PPV and NPV by prevalence, if they were requested."""
    tables = (
        ("operating_points", "at", "threshold", ("sensitivity", "specificity")),
        ("prevalence_curve", "prevalence", None, ("ppv", "npv")),
    )
    captions = {
        "operating_points": "Thresholds chosen on these images; expect less on new ones.",
        "prevalence_curve": "PPV and NPV by the share of positive images, by Bayes' theorem.",
    }
    return [
        Table(
            caption=captions[name],
            header=[key, *([also] if also else []), *map(display_name, metrics)],
            rows=[
                [
                    to_text(row[key]),
                    *([to_text(row[also])] if also else []),
                    *(with_interval(row[metric], row[f"{metric}_interval"]) for metric in metrics),
                ]
                for row in summary[name]
            ],
        )
        for name, key, also, metrics in tables
        if summary.get(name)
    ]


def _resamples(summary: Mapping[str, Any]) -> str:
    if not summary["intervals"]:
        return ""
    return f"; 95% intervals allow for its {counted(summary['num_groups'], 'group')}"


def _by_class(summary: Mapping[str, Any], labels: Sequence[str]) -> Table:
    return Table(
        caption="Each class against all others.",
        header=["class", "precision", "recall", "F1"],
        rows=[
            [
                label,
                *(number(summary["metrics"].get(f"{metric}_{label}")) for metric in _CLASS_METRICS),
            ]
            for label in labels
        ],
    )


def _alts(summary: Mapping[str, Any]) -> dict[str, str]:
    """Alternative texts for the plots of an evaluation, with the numbers they show."""

    def metric(name: str) -> str:
        found = with_interval(summary["metrics"].get(name), summary["intervals"].get(name))
        return f"{display_name(name)} {found}"

    return {
        "roc": f"ROC curve: sensitivity over 1 minus specificity; {metric('auroc')}.",
        "precision_recall": f"Precision over recall; {metric('auprc')}.",
        "reliability": "Reliability diagram: share of positives over the predicted probability; "
        f"{metric('ece')}.",
        "probabilities": "Histogram of the probabilities of each class, with the threshold.",
        "decision_curve": "Decision curve: net benefit over the threshold probability, compared "
        "with treating all and treating none.",
        "wrong": "The misclassified images, with label and prediction.",
        "samples": "Test images with their true and predicted class.",
    }
