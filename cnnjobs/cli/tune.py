"""`cnnjobs tune`."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import SEARCH, SELECTION
from cnnjobs.cli.options import Address, Data, Output, Overwrite, Seed
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import cell, table
from cnnjobs.config import TuneConfig

if TYPE_CHECKING:
    from cnnjobs.training.tune import TuneSummary


@job(app, TuneConfig, "tune")
def tune(
    data: Data = None,
    output: Output = None,
    space: Annotated[
        str | None,
        Option(
            metavar="FILE",
            rich_help_panel=SEARCH,
            help="YAML file that says which values each setting is drawn from.",
        ),
    ] = None,
    trials: Annotated[
        int, Option(rich_help_panel=SEARCH, help="Trainings, each with its own settings.")
    ] = TuneConfig.trials,
    parallel: Annotated[
        int, Option(rich_help_panel=SEARCH, help="Trials at a time; they share the CPUs.")
    ] = TuneConfig.parallel,
    grace: Annotated[
        int,
        Option(
            metavar="EPOCHS",
            rich_help_panel=SEARCH,
            help="Epochs that every trial trains before it may be stopped.",
        ),
    ] = TuneConfig.grace,
    monitor: Annotated[
        str | None,
        Option(
            metavar="val_loss|val_accuracy|val_auroc",
            rich_help_panel=SELECTION,
            help="Metric that trials are compared by. Default: val_auroc with two classes, else "
            "val_accuracy.",
        ),
    ] = TuneConfig.monitor,
    seed: Seed = TuneConfig.seed,
    address: Address = TuneConfig.address,
    overwrite: Overwrite = TuneConfig.overwrite,
) -> Job:
    """Search for good settings and write the best trial's bundle.

    Draws settings at random and trains with each; trials that fall behind are stopped (ASHA).
    The file has one line per setting of `cnnjobs train`, such as
    `learning_rate: {loguniform: [1e-5, 1e-2]}`; the other kinds are choice (a list), uniform
    and randint (low and high). All other settings are shared by all trials. The same seed draws
    the same settings.

    cnnjobs tune manifest.parquet --space space.yaml --trials 20 -o runs/search
    """
    from cnnjobs.training import tune as module

    return Job(module.tune, lambda config: module.plan(config).facts, tune_text)


def tune_text(summary: "TuneSummary") -> str:
    """The trials, best first, and the bundle of the best one."""
    names = list(summary.best.settings)
    rows = [
        [
            f"{trial.number}",
            trial.status,
            trial.epochs,
            trial.value,
            *(_setting(trial.settings[name]) for name in names),
        ]
        for trial in summary.trials
    ]
    parts = [
        f"{len(summary.trials)} trials in {summary.seconds:.0f} s",
        table(["trial", "status", "epochs", summary.monitor, *names], rows),
    ]
    parts += [f"trial {trial.number}: {trial.error}" for trial in summary.trials if trial.error]
    if summary.num_failed:
        parts.append(f"left out, unreadable: {summary.num_failed} images")
    parts += [
        f"best: trial {summary.best.number}, {summary.monitor} {cell(summary.best.value)}",
        f"bundle: {summary.bundle}",
        f"trials: {summary.output}/trials.csv",
    ]
    return "\n".join(parts)


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
