"""`cnnjobs compare`."""

from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import MetricOption, OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import counts, interval, table
from cnnjobs.config import CompareConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.evaluation.compare import CompareSummary, Comparison


@job(
    app,
    "compare",
    CompareConfig,
    options={
        "runs": Argument(
            metavar="RUN", help="Runs of evaluate, or of predict on labelled images; two or more."
        ),
        "output": OutputOption(
            "--output", "-o", metavar="FILE.json", help="File for the result. Default: print only."
        ),
        "shared": MetricOption("--shared", help="Compare only on the images that all runs have."),
    },
)
def compare() -> Job:
    """Compare models on the same images.

    Compares every RUN with the first: AUROC by DeLong's test, all metrics by a paired bootstrap
    over groups (patients), and the images that only one of the two gets right (McNemar's test).
    For two classes.

    cnnjobs compare evaluated/first evaluated/second
    """
    from cnnjobs.evaluation import compare as module

    return Job(module.compare, module.plan, compare_text)


def compare_text(summary: "CompareSummary") -> str:
    """One column per model, then the differences from the first."""
    names = [f"[{number}]" for number in range(1, len(summary.models) + 1)]
    parts = [
        f"{counted(summary.num_images, 'image')} in {counted(summary.num_groups, 'group')} "
        f"({counts(summary.counts)})"
    ]
    parts += [
        f"{name} {compared.model} in {compared.run}"
        for name, compared in zip(names, summary.models, strict=True)
    ]
    rows = [
        [metric, *(compared.metrics[metric] for compared in summary.models)]
        for metric in summary.models[0].metrics
    ]
    parts.append(table(["metric", *names], rows))
    for name, comparison in zip(names[1:], summary.comparisons, strict=True):
        parts += _differences(name, comparison)
    if summary.num_left_out:
        parts.append(f"left out, not in every run: {counted(summary.num_left_out, 'image')}")
    parts += [note for note in (summary.no_intervals, summary.undefined) if note]
    if summary.output:
        parts.append(f"result: {summary.output}")
    return "\n".join(parts)


def _differences(name: str, comparison: "Comparison") -> list[str]:
    rows = [
        [metric, difference.value, interval(difference.interval)]
        for metric, difference in comparison.differences.items()
    ]
    parts = [table([f"{name} - [1]", "difference", "95% interval"], rows)]
    delong = comparison.delong
    if delong is not None:
        parts.append(
            f"AUROC by DeLong: {delong.difference:.4f} ({interval(delong.interval)}), p "
            f"{_p(delong.p)}" + (f"; {delong.undefined}" if delong.undefined else "")
        )
    discordant = comparison.mcnemar
    parts.append(
        f"images only {name} gets right: {discordant.only_one}, only [1]: "
        f"{discordant.only_other}; p {_p(discordant.p)} (McNemar)"
    )
    return parts


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
