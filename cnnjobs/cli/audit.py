"""`cnnjobs audit`."""

from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import MetricOption, OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import AuditConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.evaluation.audit import AuditSummary


@job(
    app,
    "audit",
    AuditConfig,
    options={
        "output": OutputOption(
            "--output",
            "-o",
            metavar="DIR",
            help="Run directory for the table and plots. Default: print only.",
        ),
        "border": MetricOption(
            metavar="SHARE",
            help="Width of the border that stays visible when the lungs are painted over, as a "
            "share of each side.",
        ),
        "resamples": MetricOption(help="Bootstrap resamples for the 95% intervals, 100 or more."),
    },
)
def audit() -> Job:
    """Measure how much of the AUROC survives without the lungs.

    Scores the test split again with the center, borders or corners painted over, at 16x16
    pixels, and with the pixels shuffled. The baseline is a classifier that sees only the size,
    the mean gray level and its spread, and the file's size and format. The verdict is shortcut,
    none found or undecided (docs/audit.md); the bundle keeps it.

    cnnjobs audit runs/first manifest.parquet -o audited
    """
    from cnnjobs.evaluation import audit as module

    return Job(module.audit, module.plan, audit_text)


def audit_text(summary: "AuditSummary") -> str:
    """The verdict, and the AUROC with each occlusion."""
    rows = [
        [
            row.name,
            row.auroc,
            "-" if row.low is None else f"{row.low:.4f} to {row.high:.4f}",
            "-" if row.share is None else f"{row.share:.0%}",
        ]
        for row in summary.rows
    ]
    parts = [
        summary.line,
        f"{summary.model} on {counted(summary.num_images, 'image')} of "
        f"{counted(summary.num_groups, 'group')}, split "
        f"{summary.split}; border: {summary.border:.1%} of each side",
        table(["the model sees", "auroc", "95% interval", "survives"], rows),
    ]
    if summary.num_left_out:
        number = counted(summary.num_left_out, "image")
        parts.append(f"left out, unreadable or not sampled: {number}")
    parts += [f"warning: {give_away}" for give_away in summary.give_aways]
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    if summary.output:
        parts.append(f"run: {summary.output}")
    return "\n".join(parts)
