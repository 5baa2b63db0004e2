"""From cross-validations to a section: over the folds, and by source."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.reporting.blocks import Section, Table, shown
from cnnjobs.reporting.formatting import KEY, ends, interval, named, number
from cnnjobs.reporting.inputs import Given
from cnnjobs.reporting.sections import figures_of


def crossvalidation(given: Sequence[Given]) -> Section | None:
    """Each metric over the folds, and on every source that was left out of a training."""
    told = [run for run in given if run.command == "crossval"]
    if not told:
        return None
    ended = [run.summary for run in told if run.summary]
    return Section(
        name="cross-validation",
        title="Cross-validation",
        text=[
            f"{shown(its['num_images'])} images of {shown(its['num_groups'])} groups, each tested "
            f"by a model of {its['architecture']} that has not seen its group."
            for its in ended
        ],
        warnings=[
            f"Source {source} could not be left out: {reason}"
            for its in ended
            for source, reason in its["not_left_out"].items()
        ],
        tables=[table for its in ended for table in _crossvalidated(its)],
        figures=[figure for run in told for figure in figures_of(run, {})],
    )


def _crossvalidated(told: Mapping[str, Any]) -> list[Table]:
    """Over all folds, then of each training."""
    estimates = Table(
        caption="Over all folds: mean, standard deviation and 95 % interval of the mean.",
        header=["metric", "mean", "sd", "95 % interval"],
        rows=[
            [named(name), number(its["mean"]), number(its["sd"]), interval(ends(its))]
            for name, its in told["estimates"].items()
        ],
    )
    key = KEY[0] if told["positive"] is not None else KEY[1]
    of_each = [
        Table(
            caption=caption,
            header=["tested on", "images", *(named(name) for name in key)],
            rows=[
                [
                    str(its["name"]),
                    shown(its["num_test"]),
                    *(number(its["metrics"].get(name)) for name in key),
                ]
                for its in results
            ],
        )
        for caption, results in (
            ("Each fold.", told["folds"]),
            ("Each source, of which the training had nothing.", told["sources"]),
        )
        if results
    ]
    return [estimates, *of_each] if told["estimates"] else of_each
