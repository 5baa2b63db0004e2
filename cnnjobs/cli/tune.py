"""`cnnjobs tune`: parse, call one function, print."""

from typing import Annotated

import typer
from typer import Option

from cnnjobs.cli import text
from cnnjobs.cli.commands import (
    Address,
    ConfigFile,
    Data,
    Debug,
    DryRun,
    Json,
    Output,
    Overwrite,
    Quiet,
    Seed,
    app,
)
from cnnjobs.cli.running import run, settings
from cnnjobs.config import TuneConfig


@app.command()
def tune(
    context: typer.Context,
    data: Data = None,
    output: Output = None,
    space: Annotated[
        str | None, Option(metavar="FILE", help="YAML file of what each setting is drawn from.")
    ] = None,
    trials: Annotated[int, Option(help="Trainings, each with settings of its own.")] = (
        TuneConfig.trials
    ),
    parallel: Annotated[
        int, Option(help="Trials at once; they share the CPUs.")
    ] = TuneConfig.parallel,
    grace: Annotated[
        int, Option(metavar="EPOCHS", help="Epochs of every trial before it may be stopped.")
    ] = TuneConfig.grace,
    monitor: Annotated[
        str | None,
        Option(
            help="What trials are compared by: val_loss, val_accuracy or val_auroc. "
            "Default: val_auroc with two classes, else val_accuracy."
        ),
    ] = TuneConfig.monitor,
    model: Annotated[
        str,
        Option(help="Architecture (`cnnjobs models` lists them), or file.py:function of your own."),
    ] = TuneConfig.model,
    weights: Annotated[
        str | None, Option(help="Of a backbone: a .weights.h5 file, or imagenet.")
    ] = TuneConfig.weights,
    augment: Annotated[
        bool, Option("--augment", help="Small rotations, shifts and contrasts; never a flip.")
    ] = TuneConfig.augment,
    positive: Annotated[
        str | None,
        Option(help="The class that is looked for. Default: the opposite of a class `normal`."),
    ] = TuneConfig.positive,
    epochs: Annotated[int, Option(help="Epochs of a trial that is not stopped.")] = (
        TuneConfig.epochs
    ),
    batch_size: Annotated[int, Option(help="Images in one training step.")] = (
        TuneConfig.batch_size
    ),
    learning_rate: Annotated[float, Option(help="Of the Adam optimizer.")] = (
        TuneConfig.learning_rate
    ),
    schedule: Annotated[
        str,
        Option(help="Of the learning rate: constant, cosine, or plateau (halved when stuck)."),
    ] = TuneConfig.schedule,
    clip_norm: Annotated[
        float | None, Option(help="Largest norm of all gradients together.")
    ] = TuneConfig.clip_norm,
    class_weight: Annotated[
        str | None, Option(help="`balanced`: every class weighs the same.")
    ] = TuneConfig.class_weight,
    early_stopping: Annotated[
        int | None, Option(metavar="EPOCHS", help="Stop after so many without a better --monitor.")
    ] = TuneConfig.early_stopping,
    gpus_per_worker: Annotated[
        int | None, Option(help="0 or 1 a trial. Default: 1 where there are enough GPUs.")
    ] = TuneConfig.gpus_per_worker,
    mixed_precision: Annotated[
        bool, Option("--mixed-precision", help="16-bit arithmetic: float16 on GPU, else bfloat16.")
    ] = TuneConfig.mixed_precision,
    jit: Annotated[
        bool, Option("--jit", help="Compile the step with XLA (slower on CPU).")
    ] = TuneConfig.jit,
    seed: Seed = TuneConfig.seed,
    address: Address = TuneConfig.address,
    overwrite: Overwrite = TuneConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for settings; leaves the best trial's bundle.

    Draws settings at random and trains with each; a trial that is behind the others is
    stopped (ASHA). The file holds a line a setting of `cnnjobs train`, such as
    `learning_rate: {loguniform: [1e-5, 1e-2]}`; the other kinds are choice (a list), uniform
    and randint (both from low to high). All other settings are the same in all trials. The
    seed draws the same settings again.

    cnnjobs tune manifest.parquet --space space.yaml --trials 20 -o runs/search
    """
    from cnnjobs import tune as stage

    given = settings(context, TuneConfig, config)
    run(
        given,
        stage.tune,
        lambda wanted: stage.plan(wanted).facts,
        text.tune_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
