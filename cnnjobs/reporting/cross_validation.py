"""From cross-validations to a section: metrics over the folds, and by source."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.reporting import inputs
from cnnjobs.reporting.blocks import Section, Table, to_text
from cnnjobs.reporting.formatting import (
    BINARY_KEY_METRICS,
    MULTICLASS_KEY_METRICS,
    bounds,
    display_name,
    interval,
    number,
)
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.reporting.results import confusion_table
from cnnjobs.reporting.sections import plots_of


def cross_validation(runs: Sequence[InputRun]) -> Section | None:
    """Each metric over the folds, and on every source that was left out of a training."""
    runs = [run for run in runs if run.command == "crossval"]
    if not runs:
        return None
    summaries = [run.summary for run in runs if run.summary]
    return Section(
        name="cross-validation",
        title="Cross-validation",
        text=[
            f"{to_text(summary['num_images'])} images from {to_text(summary['num_groups'])} "
            f"groups, each tested by a {summary['architecture']} model that has not seen its group."
            for summary in summaries
        ],
        warnings=[
            f"Source {source} could not be left out: {reason}"
            for summary in summaries
            for source, reason in summary["not_left_out"].items()
        ]
        + [
            f"{display_name(name)}: {reason}"
            for summary in summaries
            for name, estimate in summary["estimates"].items()
            if (reason := estimate.get("undefined"))
        ],
        tables=[
            *(table for summary in summaries for table in _tables(summary)),
            *(table for run in runs for table in _out_of_fold(run)),
        ],
        figures=[figure for run in runs for figure in plots_of(run, {})],
    )


def _out_of_fold(run: InputRun) -> list[Table]:
    """The confusion matrix of the predictions by models that have not seen the images."""
    rows = inputs.out_of_fold(run)
    if rows is None:
        return []
    pairs = Counter(zip(rows["label"].to_pylist(), rows["prediction"].to_pylist(), strict=True))
    labels = sorted({label for pair in pairs for label in pair if label is not None})
    return [
        confusion_table(
            {actual: {name: pairs[actual, name] for name in labels} for actual in labels}
        )
    ]


def _tables(summary: Mapping[str, Any]) -> list[Table]:
    """Estimates over all folds, then one table per kind of training."""
    estimates = Table(
        caption="Over all folds: mean, standard deviation and 95% interval of the mean.",
        header=["metric", "mean", "sd", "95% interval"],
        rows=[
            [
                display_name(name),
                number(estimate["mean"]),
                number(estimate["sd"]),
                interval(bounds(estimate)),
            ]
            for name, estimate in summary["estimates"].items()
        ],
    )
    is_binary = summary["positive"] is not None
    key_metrics = BINARY_KEY_METRICS if is_binary else MULTICLASS_KEY_METRICS
    of_each = [
        Table(
            caption=caption,
            header=["tested on", "images", *map(display_name, key_metrics)],
            rows=[
                [
                    str(result["name"]),
                    to_text(result["num_test"]),
                    *(number(result["metrics"].get(name)) for name in key_metrics),
                ]
                for result in results
            ],
        )
        for caption, results in (
            ("Each fold.", summary["folds"]),
            ("Each source, left out of the training.", summary["sources"]),
        )
        if results
    ]
    return [estimates, *of_each] if summary["estimates"] else of_each
