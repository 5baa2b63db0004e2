"""Commands that train: `train`, `tune`."""

from typing import Annotated

from typer import Option

from cnnjobs.cli import text
from cnnjobs.cli.app import app
from cnnjobs.cli.job import job
from cnnjobs.cli.options import Address, Data, Output, Overwrite, Seed
from cnnjobs.cli.running import Stage
from cnnjobs.config import TrainConfig, TuneConfig


@job(app, TrainConfig)
def train(
    data: Data = None,
    output: Output = None,
    model: Annotated[
        str,
        Option(help="Architecture (`cnnjobs models` lists them), or file.py:function of your own."),
    ] = TrainConfig.model,
    weights: Annotated[
        str | None, Option(help="Of a backbone: a .weights.h5 file, or imagenet.")
    ] = TrainConfig.weights,
    augment: Annotated[
        bool, Option("--augment", help="Small rotations, shifts and contrasts; never a flip.")
    ] = TrainConfig.augment,
    positive: Annotated[
        str | None,
        Option(help="The class that is looked for. Default: the opposite of a class `normal`."),
    ] = TrainConfig.positive,
    epochs: Annotated[int, Option(help="Times that every image is trained on.")] = (
        TrainConfig.epochs
    ),
    batch_size: Annotated[int, Option(help="Images in one training step.")] = (
        TrainConfig.batch_size
    ),
    learning_rate: Annotated[float, Option(help="Of the Adam optimizer.")] = (
        TrainConfig.learning_rate
    ),
    schedule: Annotated[
        str,
        Option(help="Of the learning rate: constant, cosine, or plateau (halved when stuck)."),
    ] = TrainConfig.schedule,
    clip_norm: Annotated[
        float | None, Option(help="Largest norm of all gradients together.")
    ] = TrainConfig.clip_norm,
    class_weight: Annotated[
        str | None, Option(help="`balanced`: every class weighs the same.")
    ] = TrainConfig.class_weight,
    early_stopping: Annotated[
        int | None, Option(metavar="EPOCHS", help="Stop after so many without a better --monitor.")
    ] = TrainConfig.early_stopping,
    monitor: Annotated[
        str, Option(help="val_loss, val_accuracy or val_auroc.")
    ] = TrainConfig.monitor,
    keep: Annotated[
        str, Option(help="The epoch that becomes the bundle: last, or best by --monitor.")
    ] = TrainConfig.keep,
    threshold_rule: Annotated[
        str,
        Option(
            metavar="youden|sensitivity=S|P",
            help="Probability from which on an image is predicted positive: P, or chosen on the "
            "validation split: where sensitivity + specificity is largest (youden), or the highest "
            "that still finds the share S.",
        ),
    ] = TrainConfig.threshold_rule,
    calibrate: Annotated[
        bool,
        Option(
            "--calibrate",
            help="Fit a temperature on the validation split, by which the model's logits are "
            "divided when it scores.",
        ),
    ] = TrainConfig.calibrate,
    workers: Annotated[
        int, Option(help="Processes that train together; the result is the same.")
    ] = TrainConfig.workers,
    gpus_per_worker: Annotated[
        int | None, Option(help="0 or 1. Default: 1 where there are enough GPUs.")
    ] = TrainConfig.gpus_per_worker,
    mixed_precision: Annotated[
        bool, Option("--mixed-precision", help="16-bit arithmetic: float16 on GPU, else bfloat16.")
    ] = TrainConfig.mixed_precision,
    jit: Annotated[
        bool, Option("--jit", help="Compile the step with XLA (slower on CPU).")
    ] = TrainConfig.jit,
    cache: Annotated[
        str,
        Option(help="Decoded images: memory (once), stream (anew each epoch), or auto (by size)."),
    ] = TrainConfig.cache,
    max_failures: Annotated[
        int, Option(help="Times that lost workers are started again.")
    ] = TrainConfig.max_failures,
    mlflow: Annotated[
        str | None,
        Option(metavar="URI", help="Log the run there with MLflow (the extra `mlflow`)."),
    ] = TrainConfig.mlflow,
    seed: Seed = TrainConfig.seed,
    address: Address = TrainConfig.address,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the run that the output holds.")
    ] = TrainConfig.resume,
    overwrite: Overwrite = TrainConfig.overwrite,
) -> Stage:
    """Train a model; leaves a bundle.

    Trains on the train split, watches the validation split, and never touches the test split.
    Beside the bundle stand the history and the learning curves.

    cnnjobs train manifest.parquet --model covid -o runs/first
    """
    from cnnjobs import train as stage

    return Stage(stage.train, lambda given: stage.plan(given).facts, text.train_text)


@job(app, TuneConfig)
def tune(
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
) -> Stage:
    """Search for settings; leaves the best trial's bundle.

    Draws settings at random and trains with each; a trial that is behind the others is
    stopped (ASHA). The file holds a line a setting of `cnnjobs train`, such as
    `learning_rate: {loguniform: [1e-5, 1e-2]}`; the other kinds are choice (a list), uniform
    and randint (both from low to high). All other settings are the same in all trials. The
    seed draws the same settings again.

    cnnjobs tune manifest.parquet --space space.yaml --trials 20 -o runs/search
    """
    from cnnjobs import tune as stage

    return Stage(stage.tune, lambda given: stage.plan(given).facts, text.tune_text)
