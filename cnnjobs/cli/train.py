"""Commands that train: `train`, `tune`, `crossval`."""

from typing import Annotated

from typer import Option

from cnnjobs.cli import tables
from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.crossval import crossval_text
from cnnjobs.cli.options import (
    Address,
    Calibrate,
    Data,
    Keep,
    MaxFailures,
    Monitor,
    Output,
    Overwrite,
    Resume,
    Seed,
    ThresholdRule,
)
from cnnjobs.cli.runner import Stage
from cnnjobs.config import CrossvalConfig, TrainConfig, TuneConfig


@job(app, TrainConfig)
def train(
    data: Data = None,
    output: Output = None,
    monitor: Monitor = TrainConfig.monitor,
    keep: Keep = TrainConfig.keep,
    threshold_rule: ThresholdRule = TrainConfig.threshold_rule,
    calibrate: Calibrate = TrainConfig.calibrate,
    workers: Annotated[
        int, Option(help="Processes that train together; the result is the same.")
    ] = TrainConfig.workers,
    cache: Annotated[
        str,
        Option(help="Decoded images: memory (once), stream (anew each epoch), or auto (by size)."),
    ] = TrainConfig.cache,
    max_failures: MaxFailures = TrainConfig.max_failures,
    mlflow: Annotated[
        str | None,
        Option(metavar="URI", help="Log the run there with MLflow (the extra `mlflow`)."),
    ] = TrainConfig.mlflow,
    seed: Seed = TrainConfig.seed,
    address: Address = TrainConfig.address,
    resume: Resume = TrainConfig.resume,
    overwrite: Overwrite = TrainConfig.overwrite,
) -> Stage:
    """Train a model; leaves a bundle.

    Trains on the train split, watches the validation split, and never touches the test split.
    Beside the bundle stand the history and the learning curves.

    cnnjobs train manifest.parquet --model covid -o runs/first
    """
    from cnnjobs.training import train as stage
    from cnnjobs.training import train_plan

    return Stage(stage.train, lambda given: train_plan.plan(given).facts, tables.train_text)


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
    from cnnjobs.training import tune as stage

    return Stage(stage.tune, lambda given: stage.plan(given).facts, tables.tune_text)


@job(app, CrossvalConfig)
def crossval(
    data: Data = None,
    output: Output = None,
    folds: Annotated[
        int, Option(help="Parts the images are cut into; each is tested once. 0 with --leave-out.")
    ] = CrossvalConfig.folds,
    repeats: Annotated[
        int, Option(help="Times that all is done, each with other folds and weights.")
    ] = CrossvalConfig.repeats,
    leave_out: Annotated[
        str | None,
        Option(metavar="source", help="Also train without each source, and test on it."),
    ] = CrossvalConfig.leave_out,
    validation: Annotated[
        float, Option(help="Share of the images not tested that chooses epoch and threshold.")
    ] = CrossvalConfig.validation,
    parallel: Annotated[
        int | None,
        Option(help="Trainings at once; they share the CPUs. Default: one a GPU, or one a CPU."),
    ] = CrossvalConfig.parallel,
    monitor: Monitor = CrossvalConfig.monitor,
    keep: Keep = CrossvalConfig.keep,
    threshold_rule: ThresholdRule = CrossvalConfig.threshold_rule,
    calibrate: Calibrate = CrossvalConfig.calibrate,
    max_failures: MaxFailures = CrossvalConfig.max_failures,
    seed: Seed = CrossvalConfig.seed,
    address: Address = CrossvalConfig.address,
    resume: Resume = CrossvalConfig.resume,
    overwrite: Overwrite = CrossvalConfig.overwrite,
) -> Stage:
    """Train and test on folds; tells mean and spread.

    Every image with a label is tested by a model that has not seen it, its group or its
    copies; the manifest's own splits do not count. --leave-out source tests on collections
    that the model has never seen: nearer to what another hospital would see. --resume does
    not repeat the trainings that are done.

    cnnjobs crossval manifest.parquet --leave-out source -o runs/crossval
    """
    from cnnjobs.training import crossval as stage
    from cnnjobs.training import crossval_plan

    return Stage(stage.crossval, lambda given: crossval_plan.plan(given).facts, crossval_text)
