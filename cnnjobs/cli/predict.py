"""Commands that score images, and compare: `evaluate`, `compare`, `predict`, `predict-one`."""

from typing import Annotated

from typer import Argument, Option

from cnnjobs.cli import compare as compare_text
from cnnjobs.cli import evaluate as evaluate_text
from cnnjobs.cli import tables
from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.options import (
    Address,
    AnyModality,
    BatchSize,
    BundlePath,
    Damaged,
    Data,
    Engine,
    Output,
    Overwrite,
    Resume,
    Seed,
)
from cnnjobs.cli.runner import Stage
from cnnjobs.config import CompareConfig, EvaluateConfig, PredictConfig, PredictOneConfig


@job(app, EvaluateConfig)
def evaluate(
    bundle: BundlePath = None,
    data: Data = None,
    output: Annotated[
        str | None,
        Option("--output", "-o", help="Run directory for the metrics and predictions."),
    ] = EvaluateConfig.output,
    split: Annotated[
        str, Option(help="train, validation, test or all (for a set of its own).")
    ] = EvaluateConfig.split,
    beside: Annotated[
        list[str] | None,
        Option(
            "--beside",
            metavar="DATA",
            help="Images from elsewhere (all of them, whatever their split): metrics are given "
            "beside those of the test, with the drop; may be repeated.",
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        Option(
            help="Share of positives where the model is to be used: PPV and NPV are given at it, "
            "too."
        ),
    ] = EvaluateConfig.prevalence,
    resamples: Annotated[
        int, Option(help="Bootstrap resamples of the 95 % intervals; 0: no intervals.")
    ] = EvaluateConfig.resamples,
    seed: Seed = EvaluateConfig.seed,
    audit: Annotated[
        bool,
        Option("--audit/--no-audit", help="End with how much of the score survives without lungs."),
    ] = EvaluateConfig.audit,
    engine: Engine = EvaluateConfig.engine,
    batch_size: BatchSize = EvaluateConfig.batch_size,
    address: Address = EvaluateConfig.address,
    overwrite: Overwrite = EvaluateConfig.overwrite,
) -> Stage:
    """Compare predictions with known labels.

    AUROC, sensitivity, specificity, PPV, NPV, MCC, calibration and more, on the test split,
    each with its 95 % interval: a percentile bootstrap over groups (patients).

    Refuses a test on images that the model was trained on, here and --beside.

    cnnjobs evaluate runs/first manifest.parquet -o evaluated

    cnnjobs evaluate runs/first manifest.parquet --beside other-hospital.parquet
    """
    from cnnjobs.evaluation import evaluate as stage

    return Stage(stage.evaluate, lambda given: stage.plan(given).facts, evaluate_text.evaluate_text)


@job(app, CompareConfig)
def compare(
    runs: Annotated[
        list[str] | None,
        Argument(metavar="RUN", help="Runs of evaluate, or of predict with labels; two or more."),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="FILE.json", help="Write the result there.")
    ] = CompareConfig.output,
    shared: Annotated[
        bool, Option("--shared", help="Compare on the images that all runs have.")
    ] = CompareConfig.shared,
    resamples: Annotated[
        int, Option(help="Paired bootstrap resamples of the 95 % intervals; 0: no intervals.")
    ] = CompareConfig.resamples,
    seed: Seed = CompareConfig.seed,
) -> Stage:
    """Compare models on the same images.

    Every RUN with the first: AUROC by DeLong's test, all metrics by a paired bootstrap over
    groups (patients), and which images only one of them gets right. Two classes.

    cnnjobs compare evaluated/first evaluated/second
    """
    from cnnjobs.evaluation import compare as stage

    return Stage(stage.compare, stage.plan, compare_text.compare_text)


@job(app, PredictConfig)
def predict(
    bundle: BundlePath = None,
    data: Data = None,
    output: Output = None,
    bundles: Annotated[
        list[str] | None,
        Option("--bundle", help="One more model, whose scores are averaged with BUNDLE's."),
    ] = None,
    split: Annotated[str, Option(help="train, validation, test or all.")] = PredictConfig.split,
    engine: Engine = PredictConfig.engine,
    batch_size: BatchSize = PredictConfig.batch_size,
    damaged: Damaged = PredictConfig.damaged,
    any_modality: AnyModality = PredictConfig.any_modality,
    max_pixels: Annotated[
        int | None, Option(help="Images of more pixels are refused. Default: the bundle's.")
    ] = PredictConfig.max_pixels,
    rows_per_file: Annotated[
        int, Option(help="Rows of a Parquet part; a stopped run loses at most the last part.")
    ] = PredictConfig.rows_per_file,
    partition_by: Annotated[
        str | None,
        Option(help="Parts in a folder for each label, or each prefix (first folder) of the data."),
    ] = PredictConfig.partition_by,
    csv: Annotated[bool, Option("--csv", help="Write predictions.csv, too.")] = PredictConfig.csv,
    require_evaluated: Annotated[
        bool,
        Option(
            "--require-evaluated",
            help="Refuse a bundle that was never evaluated, or whose audit found a shortcut.",
        ),
    ] = PredictConfig.require_evaluated,
    max_errors: Annotated[
        str | None,
        Option(
            metavar="N|P%",
            help="Bad images allowed; with more the job stops after the part it is at, and the "
            "exit code is 3.",
        ),
    ] = PredictConfig.max_errors,
    price_per_hour: Annotated[
        float | None, Option(help="Of all machines together: --dry-run tells what it will cost.")
    ] = PredictConfig.price_per_hour,
    actors: Annotated[
        int | None,
        Option(
            help="Processes that score, on all machines; an autoscaler is asked for more than fit. "
            "Default: one a GPU, else one a machine."
        ),
    ] = PredictConfig.actors,
    cpus_per_actor: Annotated[
        int | None, Option(help="Cores of each. Default: its share of the machine.")
    ] = PredictConfig.cpus_per_actor,
    gpus_per_actor: Annotated[
        float | None,
        Option(help="Share of a GPU, such as 0.25 for four on each. Default: 1 where there are."),
    ] = PredictConfig.gpus_per_actor,
    address: Address = PredictConfig.address,
    resume: Resume = PredictConfig.resume,
    update: Annotated[
        bool,
        Option("--update", help="Score only images that are new or changed since the run's end."),
    ] = PredictConfig.update,
    overwrite: Overwrite = PredictConfig.overwrite,
) -> Stage:
    """Score every image to Parquet, one row each.

    A bad image is a row with its error. Rows stand in the order of the data. With --dry-run a
    sample is scored to tell how long all will take.

    cnnjobs predict runs/first archive/ -o scored
    """
    from cnnjobs.inference import predict as stage
    from cnnjobs.inference.estimate import estimate

    return Stage(stage.predict, estimate, tables.predict_text, stage.judge)


@job(app, PredictOneConfig, "predict-one")
def predict_one(
    bundle: BundlePath = None,
    images: Annotated[
        list[str] | None, Argument(metavar="IMAGE", help="Image files, local or on S3.")
    ] = None,
    engine: Engine = PredictOneConfig.engine,
    damaged: Damaged = PredictOneConfig.damaged,
    any_modality: AnyModality = PredictOneConfig.any_modality,
    plot: Annotated[
        str | None, Option(metavar="FILE.png", help="Draw the images with what is predicted.")
    ] = PredictOneConfig.plot,
) -> Stage:
    """Score single images, without Ray.

    cnnjobs predict-one runs/first patient.png
    """
    from cnnjobs.inference import predict_one as stage

    return Stage(stage.predict_one, stage.plan, tables.predict_one_text)
