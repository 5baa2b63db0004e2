"""`cnnjobs quantize`."""

from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import MetricOption, ScoringOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import interval, table
from cnnjobs.config import QuantizeConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.evaluation.quantize import QuantizeSummary


@job(
    app,
    "quantize",
    QuantizeConfig,
    options={
        "data": Argument(
            metavar="MANIFEST", help="The manifest that the bundle was trained on, or another."
        ),
        "split": MetricOption(
            metavar="train|validation|test|all", help="Images to compare the two networks on."
        ),
        "calibration_images": ScoringOption(
            help="Images of the training split that set the ranges of the integers."
        ),
        "max_auroc_drop": MetricOption(
            metavar="A", help="Refuse an int8 network whose AUROC is lower by more than this."
        ),
    },
)
def quantize() -> Job:
    """Make an int8 network, for faster scoring on CPUs.

    The network is calibrated on images of the training split, compared with the float32 network
    on the test split, and added to the bundle for `predict --precision int8`. If it loses too
    much on the validation split, some layers stay in float32. Needs the extra `quantize`.

    cnnjobs quantize runs/first manifest.parquet
    """
    from cnnjobs.evaluation import quantize as module

    return Job(module.quantize, lambda config: module.plan(config).facts, quantize_text)


def quantize_text(summary: "QuantizeSummary") -> str:
    """The metrics of both networks, and how their predictions differ."""
    rows = [
        [
            metric,
            value,
            summary.int8[metric],
            summary.differences[metric].value if metric in summary.differences else None,
            interval(summary.differences[metric].interval)
            if metric in summary.differences
            else "-",
        ]
        for metric, value in summary.fp32.items()
    ]
    kept = "; some layers stay in float32" if summary.accuracy_control else ""
    parts = [
        f"{counted(summary.num_images, 'image')}, split {summary.split}; calibrated on "
        f"{counted(summary.calibration_images, 'image')}{kept}",
        table(["metric", "fp32", "int8", "difference", "95% interval"], rows),
        f"largest change of a probability: {summary.largest_change:.4f}; predictions changed: "
        f"{summary.num_flips}",
    ]
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    parts.append(f"{summary.model} is in {summary.bundle}; score with --precision int8")
    return "\n".join(parts)
