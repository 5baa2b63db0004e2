"""The command `fetch`, in a file of its own."""

from typing import Annotated

import typer
from typer import Argument, Option

from cnnjobs.cli import text
from cnnjobs.cli.commands import ConfigFile, Debug, DryRun, Json, Overwrite, Quiet, Seed, app
from cnnjobs.cli.running import run, settings
from cnnjobs.config import FetchConfig


@app.command()
def fetch(
    context: typer.Context,
    dataset: Annotated[
        str | None, Argument(metavar="mnist|covid", help="The public set to fetch.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="Directory to write: images and manifest.")
    ] = None,
    source: Annotated[
        str | None,
        Option(
            "--from",
            help="What you have already, instead of a download. mnist: mnist.npz, or a folder "
            "with the four idx files (plain or .gz). covid: the zip, or its folder.",
        ),
    ] = FetchConfig.source,
    validation: Annotated[
        float | None,
        Option(
            help="Share for validation. Default: 0.0833 of mnist's training images, 0.15 of covid.",
        ),
    ] = FetchConfig.validation,
    limit: Annotated[
        int | None,
        Option(help="mnist: only so many images of training and test, for quick runs."),
    ] = FetchConfig.limit,
    seed: Seed = FetchConfig.seed,
    overwrite: Overwrite = FetchConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Get the lab sheet's sets, with a manifest.

    mnist: 70,000 handwritten digits; the 10,000 official test images are the test split.
    covid: the chest X-rays from Kaggle (pip install 'cnnjobs[kaggle]'), split as `index` does.
    Leaves images, one folder a class, and manifest.parquet.

    cnnjobs fetch mnist -o digits
    """
    from cnnjobs import fetch as stage

    given = settings(context, FetchConfig, config)
    run(
        given,
        stage.fetch,
        stage.plan,
        text.fetch_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
