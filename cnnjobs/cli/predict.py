"""`cnnjobs predict`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ClusterOption, ImageOption, OutputOption, ScoringOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import largest_first
from cnnjobs.config import PredictConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.inference.predict import PredictSummary


@job(
    app,
    "predict",
    PredictConfig,
    options={
        "bundles": ScoringOption(
            "--bundle",
            metavar="BUNDLE",
            help="Another model; its scores are averaged with BUNDLE's. Repeatable.",
        ),
        "precision": ScoringOption(
            metavar="fp32|bf16|int8",
            help="Arithmetic of the engine openvino: int8 needs `cnnjobs quantize`, bf16 a "
            "processor that has it. The rows' model says which.",
        ),
        "max_pixels": ImageOption(
            help="Refuse images with more pixels. Default: the bundle's limit."
        ),
        "image_timeout": ImageOption(
            metavar="SECONDS",
            help="Time to read or decode an image, after which its row gets an error.",
        ),
        "rows_per_file": OutputOption(
            help="Rows written at once, as one Parquet part. A run that is killed scores at most "
            "as many again, and those that were being scored."
        ),
        "partition_by": OutputOption(
            metavar="label|prefix",
            help="Write the parts of each label, or of each prefix (first folder of the data), to "
            "a folder of their own. Default: all parts in one folder.",
        ),
        "csv": OutputOption("--csv", help="Also write predictions.csv."),
        "metrics_file": OutputOption(
            metavar="FILE.prom",
            help="Keep the numbers of images done, of images failed by reason, and of images per "
            "second in this file, for Prometheus (node_exporter's textfile collector).",
        ),
        "require_evaluated": ScoringOption(
            "--require-evaluated",
            help="Refuse a bundle that has not been evaluated, or whose audit found a shortcut.",
        ),
        "require_external": ScoringOption(
            "--require-external",
            help="Refuse a bundle without an external test (evaluate --beside) above chance.",
        ),
        "max_errors": ImageOption(
            metavar="N|P%",
            help="Bad images allowed, as a number or a share. With more, the job stops after the "
            "current part with exit code 3. Default: any number, unless so many are missing or "
            "cannot be read that their source must have failed (docs/scoring.md).",
        ),
        "price_per_hour": ClusterOption(
            metavar="PRICE",
            help="Price of all machines together; --dry-run then estimates the cost.",
        ),
        "actors": ClusterOption(
            help="Scoring processes on all machines; an autoscaler is asked for those that do "
            "not fit. Default: one per GPU, else one per machine."
        ),
        "cpus_per_actor": ClusterOption(
            help="Cores per scoring process. Default: its share of the machine."
        ),
        "gpus_per_actor": ClusterOption(
            help="Share of a GPU per scoring process, such as 0.25 for four per GPU. Default: 1 if "
            "there are GPUs."
        ),
        "update": OutputOption(
            "--update",
            help="Score only images that are new or have changed since the run finished, and take "
            "in new labels.",
        ),
        "gone": OutputOption(
            metavar="keep|mark|drop",
            help="With --update, what becomes of the rows of images that are no longer in the "
            "data: they stay, get the time in their column gone_at, or are deleted.",
        ),
    },
)
def predict() -> Job:
    """Score every image to Parquet, one row per image.

    A bad image is a row with its error. Rows have the order of the data. With --dry-run, a
    sample is scored to estimate how long the whole job will take.

    cnnjobs predict runs/first archive/ -o scored
    """
    from cnnjobs.inference import predict as module
    from cnnjobs.inference.estimate import estimate

    return Job(module.predict, estimate, predict_text, module.judge)


def predict_text(summary: "PredictSummary") -> str:
    """Counts, predictions, time and memory, and where the rows are."""
    if summary.already_finished:
        rows = counted(summary.skipped, "row")
        return f"nothing to do: the run in {summary.output} is finished, {rows}."
    parts = [
        f"{counted(summary.indexed, 'image')}: {summary.scored} scored, "
        f"{sum(summary.failed.values())} failed, {summary.skipped} scored before"
    ]
    if summary.ignored:
        parts.append(f"ignored: {largest_first(summary.ignored)}")
    if summary.left:
        parts.append(f"not scored: {summary.left}")
    if summary.update is not None:
        parts.append("update: " + ", ".join(f"{n} {name}" for name, n in summary.update.items()))
    parts.append(f"predicted: {largest_first(summary.predictions) or 'nothing'}")
    if summary.failed:
        parts.append(f"failed: {largest_first(summary.failed)}")
    if summary.warnings:
        parts.append(f"scored with a warning: {summary.warnings}")
    if summary.histogram is not None:
        parts += ["probability:", *_histogram(summary.histogram)]
    stages = ", ".join(f"{name} {share:.0%}" for name, share in summary.stages.items())
    memory = ", ".join(
        f"{name} {number / 1e6:.0f} MB" for name, number in summary.peak_memory_bytes.items()
    )
    if summary.lost_parts:
        lost = ", ".join(summary.lost_parts)
        parts.append(f"warning: {lost} had been deleted; the images were scored again")
    parts += [f"warning: {doubt}" for doubt in summary.doubts]
    parts += summary.external
    parts += [
        f"{summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s "
        f"({summary.steady_images_per_second:.1f} once running), engine {summary.engine}",
        f"time: {stages}; peak memory: {memory}; retries: {summary.retries}",
        f"predictions: {summary.output}/predictions",
    ]
    return "\n".join(parts)


def _histogram(numbers: Sequence[int]) -> list[str]:
    """One bar per bin of the probability, the longest of 40 characters."""
    longest = max(*numbers, 1)
    return [
        f"  {step / len(numbers):.1f}-{(step + 1) / len(numbers):.1f} {number:>9,} "
        f"{'#' * -(-40 * number // longest)}".rstrip()
        for step, number in enumerate(numbers)
    ]
