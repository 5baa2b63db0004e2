"""The commands: parse, call one function, print."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from cnnjobs.cli import text
from cnnjobs.cli.running import json_text, run, settings
from cnnjobs.config import (
    BenchTrainConfig,
    DemoConfig,
    EvaluateConfig,
    IndexConfig,
    PredictConfig,
    TrainConfig,
)
from cnnjobs.errors import TooManyBadImages

app = typer.Typer(
    name="cnnjobs",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer must not insist on these: --config may give them
Data = Annotated[
    str | None,
    Argument(metavar="DATA", help="A manifest.parquet, a folder, or s3://bucket/prefix."),
]
BundlePath = Annotated[
    str | None, Argument(metavar="BUNDLE", help="A model bundle, or the run of a training.")
]
Output = Annotated[str | None, Option("--output", "-o", help="Run directory to write.")]
ConfigFile = Annotated[
    Path | None, Option("--config", help="YAML file of settings; flags win over it.")
]
Address = Annotated[
    str | None,
    Option(
        help="Ray cluster to run on (`auto`: the one on this machine). "
        "Default: RAY_ADDRESS or a running `ray start --head`, else a local Ray for this job."
    ),
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what the output holds.")]
DryRun = Annotated[
    bool, Option("--dry-run", help="Print the settings and the plan, and write nothing.")
]
Json = Annotated[bool, Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress bars.")]
Debug = Annotated[bool, Option("--debug", help="Print the traceback of an error.")]
BatchSize = Annotated[int, Option(help="Images scored at once.")]
Seed = Annotated[int, Option(help="Seed of all that is random.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from cnnjobs import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def cnnjobs(
    version: Annotated[
        bool,
        Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Train a CNN on chest X-rays and score archives of them, on a laptop or a Ray cluster.

    Start with `cnnjobs demo`. Not a medical device.
    """


@app.command()
def index(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        Argument(metavar="SRC", help="Folders or s3:// prefixes, one subfolder a class."),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="The manifest to write (.parquet).")
    ] = None,
    labels: Annotated[
        bool, Option(help="Take the class from the folder right below SRC.")
    ] = IndexConfig.labels,
    groups: Annotated[
        str | None,
        Option(help="CSV with the columns path (relative to SRC) and group, the patient."),
    ] = IndexConfig.groups,
    group_regex: Annotated[
        str | None, Option(help="Regular expression whose (group) in the file name is the patient.")
    ] = IndexConfig.group_regex,
    split: Annotated[
        bool, Option(help="Split labelled images into train, validation and test.")
    ] = IndexConfig.split,
    validation: Annotated[
        float, Option(help="Share of the images for validation.")
    ] = IndexConfig.validation,
    test: Annotated[float, Option(help="Share of the images for the test.")] = IndexConfig.test,
    content: Annotated[
        bool,
        Option(help="Read every file: find copies and unreadable images. Off: list only."),
    ] = IndexConfig.content,
    seed: Seed = IndexConfig.seed,
    overwrite: Overwrite = IndexConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List, label, group and split images once.

    Images of one group (a patient) stay in one split; without --groups or --group-regex every
    image is its own group. Exact and near copies always share a group. The split depends on
    names, labels and the seed only.

    cnnjobs index xrays/ -o manifest.parquet --groups patients.csv
    """
    from cnnjobs import index as stage

    given = settings(context, IndexConfig, config)
    run(
        given,
        stage.index,
        stage.plan,
        text.index_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def train(
    context: typer.Context,
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
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model; leaves a bundle.

    Trains on the train split, watches the validation split, and never touches the test split.
    Beside the bundle stand the history and the learning curves.

    cnnjobs train manifest.parquet --model covid -o runs/first
    """
    from cnnjobs import train as stage

    given = settings(context, TrainConfig, config)
    run(
        given,
        stage.train,
        lambda wanted: stage.plan(wanted).facts,
        text.train_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def evaluate(
    context: typer.Context,
    bundle: BundlePath = None,
    data: Data = None,
    output: Annotated[
        str | None,
        Option("--output", "-o", help="Run directory for the metrics and predictions."),
    ] = EvaluateConfig.output,
    split: Annotated[
        str, Option(help="train, validation, test or all (for a set of its own).")
    ] = EvaluateConfig.split,
    batch_size: BatchSize = EvaluateConfig.batch_size,
    address: Address = EvaluateConfig.address,
    overwrite: Overwrite = EvaluateConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare predictions with known labels.

    AUROC, sensitivity, specificity, PPV, NPV and more, on the test split.

    Refuses a test on images that the model was trained on.

    cnnjobs evaluate runs/first manifest.parquet
    """
    from cnnjobs import evaluate as stage

    given = settings(context, EvaluateConfig, config)
    run(
        given,
        stage.evaluate,
        lambda wanted: stage.plan(wanted).facts,
        text.evaluate_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def predict(
    context: typer.Context,
    bundle: BundlePath = None,
    data: Data = None,
    output: Output = None,
    split: Annotated[str, Option(help="train, validation, test or all.")] = PredictConfig.split,
    batch_size: BatchSize = PredictConfig.batch_size,
    rows_per_file: Annotated[
        int, Option(help="Rows of a Parquet part; a stopped run loses at most the last part.")
    ] = PredictConfig.rows_per_file,
    max_errors: Annotated[
        str | None,
        Option(metavar="N|P%", help="Bad images allowed; with more the exit code is 3."),
    ] = PredictConfig.max_errors,
    address: Address = PredictConfig.address,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the run that the output holds.")
    ] = PredictConfig.resume,
    overwrite: Overwrite = PredictConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score every image to Parquet, one row each.

    A bad image is a row with its error. Rows stand in the order of the data.

    cnnjobs predict runs/first archive/ -o scored
    """
    from cnnjobs import predict as stage

    given = settings(context, PredictConfig, config)
    summary = run(
        given,
        stage.predict,
        lambda wanted: stage.plan(wanted).facts,
        text.predict_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    if summary is not None and summary.too_many_bad:
        raise TooManyBadImages(summary.too_many_bad)


@app.command()
def demo(
    context: typer.Context,
    output: Annotated[
        str, Option("--output", "-o", help="Directory to write.")
    ] = DemoConfig.output,
    num_images: Annotated[int, Option(help="Synthetic images to draw.")] = DemoConfig.num_images,
    epochs: Annotated[int, Option(help="Epochs to train.")] = DemoConfig.epochs,
    seed: Seed = DemoConfig.seed,
    overwrite: Overwrite = DemoConfig.overwrite,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """See it all work on synthetic drawings.

    Draws an archive, indexes it, trains on it, evaluates the model and scores every image.

    Needs no data and no network. The images are drawings, no patients: what the model
    learns on them means nothing.
    """
    from cnnjobs import demo as tour

    given = settings(context, DemoConfig, config)
    run(
        given,
        lambda wanted, progress: tour.demo(wanted, progress, tell=_headline(quiet=quiet)),
        tour.plan,
        text.demo_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the architectures."""
    from cnnjobs.models import ARCHITECTURES

    if as_json:
        typer.echo(json_text(ARCHITECTURES))
        return
    typer.echo(text.models_text(ARCHITECTURES.values()))


bench = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.callback()
def _bench() -> None:
    """Measure speed on this machine."""


@bench.command("train")
def bench_train(
    context: typer.Context,
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
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time the training beside plain Keras.

    Keras' own `model.fit`, this project's loop in one process, and whole trainings on one and
    on two workers, which share the cores. Needs a machine that does nothing else.

    cnnjobs bench train --model digits --rows 12800
    """
    from cnnjobs import bench as stage

    given = settings(context, BenchTrainConfig, config)
    run(
        given,
        stage.bench_train,
        stage.plan,
        text.bench_text,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def _headline(*, quiet: bool) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    return tell
