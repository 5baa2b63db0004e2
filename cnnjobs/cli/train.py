"""`cnnjobs train`."""

from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ClusterOption, OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import TrainConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.training.train import TrainSummary


@job(
    app,
    "train",
    TrainConfig,
    options={
        "workers": ClusterOption(
            help="Processes that train together; the result does not depend on it."
        ),
        "cache": ClusterOption(
            metavar="auto|memory|stream",
            help="Decode images once and keep them in memory, stream them through every epoch, or "
            "choose by size (auto).",
        ),
        "mlflow": OutputOption(
            metavar="URI", help="Log the run to this MLflow store (needs the extra `mlflow`)."
        ),
    },
)
def train() -> Job:
    """Train a model and write its bundle.

    Trains on the train split, monitors the validation split, and never touches the test split.
    The run directory holds the bundle, the history and the learning curves. --resume continues a
    run that was stopped, and with more --epochs also one that has finished.

    cnnjobs train manifest.parquet --model covid -o runs/first
    """
    from cnnjobs.training.train import train as run
    from cnnjobs.training.train_plan import plan

    return Job(run, lambda config: plan(config).facts, train_text)


def train_text(summary: "TrainSummary") -> str:
    """The history, the bundle, and what needs attention."""
    if summary.already_finished:
        return f"nothing to do: the run in {summary.output} is finished."
    shown = ["epoch", "loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc"]
    columns = [name for name in shown if name in summary.history[0]]
    rows = [
        [int(epoch["epoch"]), *(epoch[name] for name in columns[1:])] for epoch in summary.history
    ]
    parts = [
        f"trained {summary.model} on {counted(summary.num_train, 'image')}, "
        f"{summary.num_validation} for validation, in {summary.seconds:.0f} s "
        f"({summary.images_per_second:.1f} images/s during epochs)",
        table(columns, rows),
    ]
    if summary.positive is not None:
        parts.append(f"positive class: {summary.positive}")
    if (summary.threshold, summary.temperature) != (0.5, 1.0):
        parts.append(f"threshold {summary.threshold:.4g}, temperature {summary.temperature:.4g}")
    parts += summary.warnings
    if summary.num_failed:
        parts.append(f"left out, unreadable: {counted(summary.num_failed, 'image')}")
    parts += [f"bundle: {summary.bundle}", f"curves: {summary.output}/learning_curves.png"]
    return "\n".join(parts)
