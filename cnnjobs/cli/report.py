"""The command that makes a page of runs: `report`."""

from typing import Annotated

from typer import Argument, Option

from cnnjobs.cli import report_text
from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.command_line import command_line
from cnnjobs.cli.options import Overwrite, Seed
from cnnjobs.cli.runner import Stage
from cnnjobs.config import ReportConfig
from cnnjobs.progress import Progress


@job(app, ReportConfig)
def report(
    runs: Annotated[
        list[str] | None,
        Argument(
            metavar="RUN",
            help="Run directories of one model: train, tune, evaluate, audit, predict, crossval.",
        ),
    ] = None,
    output: Annotated[
        str, Option("--output", "-o", help="The page to write (.html).")
    ] = ReportConfig.output,
    title: Annotated[
        str | None, Option(help="Heading of the page. Default: the model's name.")
    ] = ReportConfig.title,
    max_images: Annotated[
        int,
        Option(
            help="Images in the gallery: wrong, failed and uncertain ones first, then drawn at "
            "random."
        ),
    ] = ReportConfig.max_images,
    seed: Seed = ReportConfig.seed,
    overwrite: Overwrite = ReportConfig.overwrite,
) -> Stage:
    """Make one HTML page of what runs have left.

    Data, model, training, evaluation, audit, the scored images, limits, and the commands that
    repeat it. The page holds all it shows, loads nothing, and can be sent by mail. The images are
    read once more, those of patients among them: mind who gets the page.

    cnnjobs report runs/first evaluated scored -o report.html
    """
    from cnnjobs.reporting import report as stage

    def run(given: ReportConfig, progress: Progress) -> stage.ReportSummary:
        return stage.report(given, progress, spell=command_line)

    return Stage(run, lambda given: stage.plan(given).facts, report_text.describe)
