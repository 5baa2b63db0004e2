"""From runs to the parts of a page that say how good the model is, and what nobody knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.report.blocks import Section, Table, Tile, shown
from cnnjobs.report.formatting import KEY, interval, named, number
from cnnjobs.report.inputs import Given
from cnnjobs.report.sections import figures_of


def tiles(given: Sequence[Given]) -> list[Tile]:
    """The key figures of the first evaluation, with their intervals."""
    run = next((run for run in given if run.command == "evaluate" and run.summary), None)
    if run is None:
        return []
    told = run.summary
    key = KEY[0] if told.get("positive") is not None else KEY[1]
    groups = f"{told['num_groups']:,} groups, split {told['split']}"
    return [
        *(
            Tile(
                name=named(name),
                value=number(told["metrics"][name]),
                note=interval(told["intervals"].get(name)),
            )
            for name in key
            if told["metrics"].get(name) is not None
        ),
        Tile(name="Test images", value=f"{told['num_images']:,}", note=groups),
    ]


def evaluation(given: Sequence[Given]) -> Section | None:
    """Metrics with intervals, the confusion matrix and the figures of each evaluation."""
    told = [run for run in given if run.command == "evaluate"]
    if not told:
        return None
    ended = [run for run in told if run.summary]
    return Section(
        name="evaluation",
        title="Evaluation",
        text=[_tested_on(run) for run in ended],
        warnings=[text for run in ended for text in _warnings(run.summary)],
        tables=[table for run in ended for table in _tables(run)],
        figures=[figure for run in ended for figure in figures_of(run, _alts(run.summary))],
    )


def _tested_on(run: Given) -> str:
    told = run.summary
    counts = shown(told["counts"])
    groups = f"{told['num_groups']:,} groups"
    text = f"{told['num_images']:,} images of {groups} ({counts}), split {told['split']} of "
    threshold = (
        f"; {told['positive']} is predicted from a probability of {shown(told['threshold'])} on"
        if told.get("positive") is not None
        else ""
    )
    return f"{text}{run.config['data']}{threshold}."


def _warnings(told: Mapping[str, Any]) -> list[str]:
    warnings = [
        f"{told[name]:,} images {what}." if told.get(name) else None
        for name, what in (
            ("num_failed", "could not be read and are left out"),
            ("num_unlabelled", "have no label and are left out"),
        )
    ]
    sentences = [told.get(name) for name in ("warning", "undefined", "no_intervals")]
    return [text[0].upper() + text[1:] for text in [*warnings, *sentences] if text]


def _tables(run: Given) -> list[Table]:
    told = run.summary
    labels = list(told["confusion"])
    by_class = {f"{kind}_{label}" for label in labels for kind in ("precision", "recall", "f1")}
    by_class = by_class if told.get("positive") is None else set()
    tables = [
        Table(
            caption=f"Metrics on split {told['split']}{_resampled(told)}.",
            header=["metric", "value", "95 % interval"],
            rows=[
                [named(name), number(value), interval(told["intervals"].get(name))]
                for name, value in told["metrics"].items()
                if name not in by_class
            ],
        ),
        Table(
            caption="Confusion matrix: actual class down, predicted class across.",
            header=["actual \\ predicted", *labels],
            rows=[
                [actual, *(shown(told["confusion"][actual].get(each, 0)) for each in labels)]
                for actual in labels
            ],
        ),
    ]
    if by_class:
        tables.append(_by_class(told, labels))
    return tables


def _resampled(told: Mapping[str, Any]) -> str:
    if not told["intervals"]:
        return ""
    return f"; the intervals hold 95 % of resamples of the {told['num_groups']:,} groups"


def _by_class(told: Mapping[str, Any], labels: Sequence[str]) -> Table:
    kinds = ("precision", "recall", "f1")
    return Table(
        caption="Each class against all others.",
        header=["class", "precision", "recall", "F1"],
        rows=[
            [label, *(number(told["metrics"].get(f"{kind}_{label}")) for kind in kinds)]
            for label in labels
        ],
    )


def _alts(told: Mapping[str, Any]) -> dict[str, str]:
    """Words for the figures of an evaluation, with the numbers they show."""
    metrics = told["metrics"]

    def having(name: str) -> str:
        ends_of = interval(told["intervals"].get(name))
        return f"{named(name)} {number(metrics.get(name))} ({ends_of})"

    table = "; ".join(
        f"{actual} predicted as {shown(its)}" for actual, its in told["confusion"].items()
    )
    return {
        "roc": f"ROC curve: sensitivity over 1 minus specificity; {having('auroc')}.",
        "precision_recall": f"Precision over recall; {having('auprc')}.",
        "confusion": f"Confusion matrix: {table}.",
        "reliability": "Reliability diagram: share of positives over the predicted probability; "
        f"{having('ece')}.",
        "probabilities": "Histogram of the probabilities of each class, with the threshold.",
        "decision_curve": "Decision curve: net benefit over the threshold probability, beside "
        "treating all and treating none.",
        "wrong": "The images that are predicted wrong, with label and prediction.",
        "digits": "Test images with their true and predicted class.",
    }
