"""`python -m benchmarks NAME`: one command per benchmark. Run them on an idle machine."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from benchmarks.config import SCORING_WAYS, GpuBenchmark, PredictBenchmark, TrainBenchmark
from cnnjobs.cluster import presence
from cnnjobs.errors import CnnjobsError
from cnnjobs.progress import showing
from cnnjobs.storage import json_files

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

Json = Annotated[bool, Option("--json", help="Print the result as JSON.")]
Model = Annotated[str, Option(help="Architecture; `cnnjobs models` lists them.")]
Repeats = Annotated[int, Option(help="Measurements of each; medians are reported.")]
BatchSize = Annotated[int, Option(help="Images per batch.")]
Seed = Annotated[int, Option(help="Seed of everything random.")]


@app.callback()
def benchmarks() -> None:
    """Measure on this machine. It should be doing nothing else."""
    presence.before_ray(None)


@app.command()
def predict(
    data: Annotated[
        str | None,
        Option(metavar="FOLDER", help="PNG and JPEG files to score. Default: drawings."),
    ] = PredictBenchmark.data,
    ways: Annotated[
        list[str],
        Option("--way", help=f"Measure only this way; repeatable: {', '.join(SCORING_WAYS)}."),
    ] = list(SCORING_WAYS),  # noqa: B006 - Typer wants a list and copies it
    model: Model = PredictBenchmark.model,
    rows: Annotated[int, Option(help="Images to score.")] = PredictBenchmark.rows,
    side: Annotated[
        int, Option(help="Side of the drawings in pixels, on average.")
    ] = PredictBenchmark.side,
    repeats: Repeats = PredictBenchmark.repeats,
    batch_size: BatchSize = PredictBenchmark.batch_size,
    seed: Seed = PredictBenchmark.seed,
    as_json: Json = False,
) -> None:
    """Compare `cnnjobs predict` with other ways to score an archive.

    The others are the lab sheet's loop, tf.data, the pipeline of Ray Data's guides, and this
    project's decoder and engine without Ray: the ceiling, whose scores must equal those of
    `cnnjobs predict` bit for bit.
    """
    from benchmarks import text
    from benchmarks.predict import bench_predict

    config = PredictBenchmark(
        data=data,
        ways=tuple(ways),
        model=model,
        rows=rows,
        side=side,
        repeats=repeats,
        batch_size=batch_size,
        seed=seed,
    )
    with showing(True) as progress:
        summary = bench_predict(config, progress)
    _print(summary, text.predict_text, as_json=as_json)


@app.command()
def train(
    model: Model = TrainBenchmark.model,
    rows: Annotated[int, Option(help="Random images to train on.")] = TrainBenchmark.rows,
    epochs: Annotated[
        int, Option(help="Timed epochs per repeat, after a first that is not timed.")
    ] = TrainBenchmark.epochs,
    batch_size: BatchSize = TrainBenchmark.batch_size,
    repeats: Repeats = TrainBenchmark.repeats,
    seed: Seed = TrainBenchmark.seed,
    as_json: Json = False,
) -> None:
    """Compare training with plain Keras.

    Times Keras' own `model.fit`, this project's loop in one process, and whole trainings with one
    worker and with two, which share the cores.
    """
    from benchmarks import text
    from benchmarks.train import bench_train

    config = TrainBenchmark(
        model=model, rows=rows, epochs=epochs, batch_size=batch_size, repeats=repeats, seed=seed
    )
    with showing(True) as progress:
        summary = bench_train(config, progress)
    _print(summary, text.train_text, as_json=as_json)


@app.command()
def gpu(
    names: Annotated[
        list[str], Option("--model", help="Architecture; repeatable; `cnnjobs models` lists them.")
    ] = list(GpuBenchmark.models),  # noqa: B006
    rows: Annotated[int, Option(help="Images of each job.")] = GpuBenchmark.rows,
    side: Annotated[
        int, Option(help="Side of the drawings to score in pixels, on average.")
    ] = GpuBenchmark.side,
    batch_size: BatchSize = GpuBenchmark.batch_size,
    seed: Seed = GpuBenchmark.seed,
    as_json: Json = False,
) -> None:
    """Train and score on this machine's GPU, and say what keeps it from doing more.

    Takes eight minutes at most: jobs that time is not left for are named.
    """
    from benchmarks import text
    from benchmarks.gpu import bench_gpu

    config = GpuBenchmark(
        models=tuple(names), rows=rows, side=side, batch_size=batch_size, seed=seed
    )
    with showing(True) as progress:
        summary = bench_gpu(config, progress)
    _print(summary, text.gpu_text, as_json=as_json)


@app.command()
def start(
    rows: Annotated[int, Option(help="Images to score.")] = 200,
    repeats: Repeats = 3,
) -> None:
    """Show where the time of a small job goes, from the command to its end."""
    from benchmarks.start import print_waterfalls

    print_waterfalls(rows, repeats)


@app.command()
def index(
    rows: Annotated[int, Option(help="Keys on S3; a tenth as many local files.")] = 1_000_000,
) -> None:
    """Time indexing step by step, each in a process of its own."""
    from benchmarks.index import print_steps

    print_steps(rows)


@app.command()
def tables(
    rows: Annotated[int, Option(help="Rows of each table.")] = 200_000,
    layouts: Annotated[
        list[str] | None, Option("--layout", help="Measure only this layout; repeatable.")
    ] = None,
) -> None:
    """Time `index --table` with each named layout, on a table that is written for it."""
    from benchmarks.tables import print_layouts

    print_layouts(rows, layouts or ())


@app.command()
def engines(
    model: Annotated[str, Option(help="The architecture.")] = "covid",
    threads: Annotated[int, Option(help="Threads of each engine.")] = 1,
) -> None:
    """Compare what an image costs OpenVINO, Keras and Keras with XLA on the CPU."""
    from benchmarks.engines import print_costs

    print_costs(model, threads)


@app.command()
def exports(
    bundle: Annotated[str, Argument(help="A model bundle, or the run directory of a training.")],
    data: Annotated[str, Argument(metavar="MANIFEST", help="Images to score.")],
) -> None:
    """Compare the probabilities of `cnnjobs export` in every format with those of Keras."""
    from benchmarks.exports import print_parity

    print_parity(bundle, data)


@app.command()
def shards(
    rows: Annotated[int, Option(help="Images.")] = 4000,
    side: Annotated[int, Option(help="Side of an image in pixels.")] = 256,
    latency: Annotated[float, Option(help="Milliseconds added to each request.")] = 30.0,
) -> None:
    """Read small images from S3: one object each, and in tar, zip and Parquet."""
    from benchmarks.shards import print_table

    print_table(rows, side, latency)


@app.command()
def decode(
    folder: Annotated[
        Path | None, Argument(help="PNG files to compare decoders on. Default: drawings only.")
    ] = None,
) -> None:
    """Measure decoding: speed by file type, the effect of scaled decoding, damage detected."""
    from benchmarks.decode import print_all

    print_all(folder)


@app.command()
def scale(
    rows: Annotated[int, Option(help="Rows to measure with.")] = 1_000_000,
    plot: Annotated[
        Path | None, Option(help="Draw the memory of `predict` to this .png, .svg or .pdf.")
    ] = None,
    estimate: Annotated[
        bool, Option("--estimate", help="Print the table of docs/scaling.md; measure nothing.")
    ] = False,
    images_per_core: Annotated[
        float, Option(help="Images per second and core; docs/benchmarks.md: 109.5 on two cores.")
    ] = 54.7,
    cores: Annotated[int, Option(help="Cores of all workers.")] = 128,
    core_hour: Annotated[float, Option(help="USD per core and hour, on demand.")] = 0.045,
    spot: Annotated[float, Option(help="Spot price as a share of that.")] = 0.4,
    get: Annotated[float, Option(help="USD per 1,000 GET requests.")] = 0.0004,
    put: Annotated[float, Option(help="USD per 1,000 PUT or LIST requests.")] = 0.005,
    manifest_bytes: Annotated[float, Option(help="Bytes per row of the manifest.")] = 47.0,
    row_bytes: Annotated[float, Option(help="Bytes per row handed to Ray.")] = 68.0,
    driver_bytes: Annotated[
        float, Option(help="Driver's peak bytes per row, on top of 250 MB.")
    ] = 350.0,
) -> None:
    """Measure the driver on millions of rows, or estimate what scoring them costs."""
    from benchmarks.scale import Rates, print_estimate, print_measured

    if not estimate:
        print_measured(rows, plot)
        return
    print_estimate(
        Rates(
            images_per_core=images_per_core,
            cores=cores,
            core_hour=core_hour,
            spot=spot,
            get=get,
            put=put,
            manifest_bytes=manifest_bytes,
            row_bytes=row_bytes,
            driver_bytes=driver_bytes,
        )
    )


@app.command()
def intervals() -> None:
    """Measure how often the resampled intervals of `cnnjobs evaluate` cover the true value."""
    from benchmarks.intervals import print_coverage

    print_coverage()


@app.command()
def coverage(
    repeats: Annotated[int, Option(help="Samples per case.")] = 2000,
    correlation: Annotated[
        float, Option(help="How alike the images of a patient are, 0 to 1.", min=0, max=1)
    ] = 0.5,
) -> None:
    """Measure how often the intervals of shares and AUROCs cover the true value, edges included."""
    from benchmarks.coverage import print_tables

    print_tables(repeats, correlation)


@app.command()
def recipes(
    xrays: Annotated[
        Path | None, Option(help="Folder with covid/, normal/ and groups.csv.")
    ] = None,
    seeds: Annotated[list[int], Option("--seed", help="Seed; repeatable.")] = [0, 1, 2],  # noqa: B006
    only: Annotated[
        list[str] | None, Option("--only", help="Measure only this recipe; repeatable.")
    ] = None,
) -> None:
    """Measure how well models trained by each recipe transfer to an unseen hospital."""
    from benchmarks.recipes import print_table

    print_table(xrays, seeds, only)


def _print(summary: Any, as_text: Any, *, as_json: bool) -> None:
    typer.echo(json_files.text(summary) if as_json else as_text(summary))


if __name__ == "__main__":
    try:
        app(prog_name="python -m benchmarks")
    except CnnjobsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
