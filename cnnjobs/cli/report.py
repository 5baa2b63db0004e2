"""`cnnjobs report`."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.command_line import command_line
from cnnjobs.cli.help_page import OUTPUT
from cnnjobs.cli.options import Overwrite, Seed
from cnnjobs.cli.runner import Job
from cnnjobs.config import ReportConfig
from cnnjobs.progress import Progress

if TYPE_CHECKING:
    from cnnjobs.report.report import ReportSummary


@job(app, ReportConfig, "report")
def report(
    runs: Annotated[
        list[str] | None,
        Argument(
            metavar="RUN",
            help="Run directories of one model: train, tune, evaluate, audit, predict, crossval.",
        ),
    ] = None,
    output: Annotated[
        str,
        Option(
            "--output", "-o", metavar="FILE", rich_help_panel=OUTPUT, help="Page to write (.html)."
        ),
    ] = ReportConfig.output,
    title: Annotated[
        str | None,
        Option(
            metavar="TEXT",
            rich_help_panel=OUTPUT,
            help="Title of the page. Default: the model's name.",
        ),
    ] = ReportConfig.title,
    max_images: Annotated[
        int,
        Option(
            rich_help_panel=OUTPUT,
            help="Images in the gallery: wrong, failed and uncertain ones first, then a random "
            "sample.",
        ),
    ] = ReportConfig.max_images,
    seed: Seed = ReportConfig.seed,
    overwrite: Overwrite = ReportConfig.overwrite,
) -> Job:
    """Summarize runs on one HTML page.

    Data, model, training, evaluation, audit, the scored images, limits, and the commands that
    repeat the runs. The page is self-contained: it loads nothing and can be sent by mail. It
    shows images, patients' among them, which are read again: consider who gets the page.

    cnnjobs report runs/first evaluated scored -o report.html
    """
    from cnnjobs.report import report as module

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
