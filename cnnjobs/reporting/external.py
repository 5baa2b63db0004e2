"""From runs and their bundle to a section: tests on images of other collections."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjobs.config.printable import counted
from cnnjobs.models import external_tests
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting.blocks import Section, Table
from cnnjobs.reporting.formatting import display_name, interval, number, with_interval
from cnnjobs.reporting.inputs import InputRun


def external_section(runs: Sequence[InputRun], bundle: Bundle | None) -> Section | None:
    """What the bundle keeps of such tests, and the metrics of each `evaluate --beside`."""
    tests = external_tests.read(bundle) if bundle is not None else ()
    tables = [
        _table(beside)
        for run in runs
        if run.command == "evaluate"
        for beside in run.summary.get("beside") or ()
    ]
    if not tests and not tables:
        return None
    good, bad = (
        [
            f"{text[0].upper()}{text[1:]}."
            for test in tests
            if external_tests.is_above_chance(test) is wanted
            for text in [external_tests.sentence(test)]
        ]
        for wanted in (True, False)
    )
    return Section(name="external", title="External test", text=good, warnings=bad, tables=tables)


def _table(beside: Mapping[str, Any]) -> Table:
    """The metrics on one set, and what the model loses there."""
    drops = beside.get("drops") or {}
    images = counted(beside["num_images"], "image")
    return Table(
        caption=f"{images} of {external_tests.set_name(beside['data'])} (evaluate --beside).",
        header=["metric", "value", "95% interval", "lower than on the test split by"],
        rows=[
            [
                display_name(name),
                number(value),
                interval(beside["intervals"].get(name)),
                with_interval(drops[name]["value"], drops[name]["interval"])
                if name in drops
                else "unknown",
            ]
            for name, value in beside["metrics"].items()
        ],
    )
