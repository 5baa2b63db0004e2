"""`cnnjobs report`."""

from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.command_line import command_line
from cnnjobs.cli.help_page import OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.config import ReportConfig
from cnnjobs.progress import Progress

if TYPE_CHECKING:
    from cnnjobs.reporting.report import ReportSummary


@job(
    app,
    "report",
    ReportConfig,
    options={
        "runs": Argument(
            metavar="RUN",
            help="Run directories of one model: train, tune, evaluate, audit, predict, crossval.",
        ),
        "output": OutputOption("--output", "-o", metavar="FILE", help="Page to write (.html)."),
        "title": OutputOption(
            metavar="TEXT", help="Title of the page. Default: the classes and the data."
        ),
        "card": OutputOption(
            metavar="FILE",
            help="YAML file with the words of a model card, such as intended_use (docs/report.md).",
        ),
        "max_images": OutputOption(
            help="Images in the gallery: wrong, failed and uncertain ones first, then a random "
            "sample."
        ),
    },
)
def report() -> Job:
    """Summarize runs on one HTML page.

    Data, model, training, evaluation, audit, the scored images, limits, and the commands that
    repeat the runs. The page is self-contained: it loads nothing and can be sent by mail. It
    shows images, patients' among them, which are read again: consider who gets the page.

    cnnjobs report runs/first evaluated scored -o report.html
    """
    from cnnjobs.reporting import report as module

    def run(config: ReportConfig, progress: Progress) -> "ReportSummary":
        return module.report(config, progress, spell=command_line)

    return Job(run, lambda config: module.plan(config).facts, report_text)


def report_text(summary: "ReportSummary") -> str:
    """The page, its size, and what it lacks."""
    parts = [f"{summary.title}: {', '.join(summary.sections)}"]
    if summary.num_images:
        unread = f", {summary.unread} of them unreadable" if summary.unread else ""
        parts.append(f"images: {summary.num_shown:,} of {summary.num_images:,}{unread}")
    if summary.num_explained:
        parts.append(f"with a heat map: {summary.num_explained}")
    parts += [f"warning: {warning}" for warning in summary.warnings]
    parts.append(f"page: {summary.output} ({summary.size_bytes / 1e6:.1f} MB)")
    return "\n".join(parts)
