"""Commands that show and measure: `demo`, `models`, `bench`."""

from typing import Annotated

import typer
from typer import Option

from benchmarks import text as bench_text
from cnnjobs.cli import demo as demo_text
from cnnjobs.cli import tables
from cnnjobs.cli.app import app, bench
from cnnjobs.cli.command import job
from cnnjobs.cli.options import BatchSize, Debug, Json, Overwrite, Seed
from cnnjobs.cli.runner import Stage, json_text
from cnnjobs.config import SCORING_WAYS, BenchPredictConfig, BenchTrainConfig, DemoConfig
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


@job(bench, BenchTrainConfig, "train")
def bench_train(
    model: Annotated[
        str, Option(help="Architecture; `cnnjobs models` lists them.")
    ] = BenchTrainConfig.model,
    rows: Annotated[int, Option(help="Random images to train on.")] = BenchTrainConfig.rows,
    epochs: Annotated[
        int, Option(help="Timed epochs of each repeat, after one that is not timed.")
    ] = BenchTrainConfig.epochs,
    batch_size: Annotated[int, Option(help="Images in one training step.")] = (
        BenchTrainConfig.batch_size
    ),
    repeats: Annotated[
        int, Option(help="Times that all is measured; medians are told.")
    ] = BenchTrainConfig.repeats,
    seed: Seed = BenchTrainConfig.seed,
) -> Stage:
    """Time the training beside plain Keras.

    Keras' own `model.fit`, this project's loop in one process, and whole trainings on one and
    on two workers, which share the cores. Needs a machine that does nothing else.

    cnnjobs bench train --model digits --rows 12800
    """
    from benchmarks import train as stage

    return Stage(stage.bench_train, stage.plan, bench_text.train_text)


@job(bench, BenchPredictConfig, "predict")
def bench_predict(
    data: Annotated[
        str | None,
        Option(metavar="FOLDER", help="PNG and JPEG files to score. Default: drawings."),
    ] = BenchPredictConfig.data,
    ways: Annotated[
        list[str] | None,
        Option("--way", help=f"Measure this alone; may be repeated: {', '.join(SCORING_WAYS)}."),
    ] = None,
    model: Annotated[
        str, Option(help="Architecture; `cnnjobs models` lists them.")
    ] = BenchPredictConfig.model,
    rows: Annotated[int, Option(help="Images to score.")] = BenchPredictConfig.rows,
    side: Annotated[
        int, Option(help="Drawings have about so many pixels, squared.")
    ] = BenchPredictConfig.side,
    repeats: Annotated[
        int, Option(help="Times that all is measured; medians are told.")
    ] = BenchPredictConfig.repeats,
    batch_size: BatchSize = BenchPredictConfig.batch_size,
    seed: Seed = BenchPredictConfig.seed,
) -> Stage:
    """Time the scoring beside other ways to score an archive.

    The lab sheet's loop, tf.data, Ray Data's textbook pipeline, and this project's decoder and
    engine without Ray, the ceiling of `cnnjobs predict`, whose scores must be the same bits.
    Needs a machine that does nothing else.

    cnnjobs bench predict --rows 2000
    """
    from benchmarks import predict as stage

    return Stage(stage.bench_predict, stage.plan, bench_text.predict_text)
