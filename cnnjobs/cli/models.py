"""Commands that show and measure: `demo`, `models`."""

from typing import Annotated

import typer
from typer import Option

from cnnjobs.cli import demo as demo_text
from cnnjobs.cli import tables
from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.options import Debug, Json, Overwrite, Seed
from cnnjobs.cli.runner import Stage, json_text
from cnnjobs.config import DemoConfig
from cnnjobs.progress import Progress, silent


@job(app, DemoConfig)
def demo(
    output: Annotated[
        str, Option("--output", "-o", help="Directory to write.")
    ] = DemoConfig.output,
    num_images: Annotated[int, Option(help="Synthetic images to draw.")] = DemoConfig.num_images,
    epochs: Annotated[int, Option(help="Epochs to train.")] = DemoConfig.epochs,
    seed: Seed = DemoConfig.seed,
    overwrite: Overwrite = DemoConfig.overwrite,
) -> Stage:
    """See it all work on synthetic drawings.

    Draws an archive, indexes it, trains on it, evaluates the model and scores every image.

    Needs no data and no network. The images are drawings, no patients: what the model
    learns on them means nothing.
    """
    from cnnjobs import demo as tour

    def run(given: DemoConfig, progress: Progress) -> tour.DemoSummary:
        def tell(line: str) -> None:
            if progress is not silent:
                typer.echo(line, err=True)

        return tour.demo(given, progress, tell=tell)

    return Stage(run, tour.plan, demo_text.demo_text)


@app.command()
def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the architectures."""
    from cnnjobs.models import ARCHITECTURES

    if as_json:
        typer.echo(json_text(ARCHITECTURES))
        return
    typer.echo(tables.models_text(ARCHITECTURES.values()))
