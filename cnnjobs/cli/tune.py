"""`cnnjobs tune`."""

from typing import TYPE_CHECKING, Any

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import SearchOption, SelectionOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import cell, table
from cnnjobs.config import TuneConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.training.tune import TuneSummary


@job(
    app,
    "tune",
    TuneConfig,
    options={
        "space": SearchOption(
            metavar="FILE", help="YAML file that says which values each setting is drawn from."
        ),
        "trials": SearchOption(help="Trainings, each with its own settings."),
        "parallel": SearchOption(help="Trials at a time; they share the CPUs."),
        "grace": SearchOption(
            metavar="EPOCHS", help="Epochs that every trial trains before it may be stopped."
        ),
        "monitor": SelectionOption(
            metavar="val_loss|val_accuracy|val_auroc",
            help="Metric that trials are compared by. Default: val_auroc with two classes, else "
            "val_accuracy.",
        ),
    },
)
def tune() -> Job:
    """Search for good settings and write the best trial's bundle.

    Draws settings at random and trains with each; trials that fall behind are stopped (ASHA).
    The file has one line per setting of `cnnjobs train`, such as
    `learning_rate: {loguniform: [1e-5, 1e-2]}`; the other kinds are choice (a list), uniform
    and randint (low and high). All other settings are shared by all trials. The same seed draws
    the same settings. --resume keeps the trials that ended and continues the others.

    cnnjobs tune manifest.parquet --space space.yaml --trials 20 -o runs/search
    """
    from cnnjobs.training import tune as module

    return Job(module.tune, lambda config: module.plan(config).facts, tune_text)


def tune_text(summary: "TuneSummary") -> str:
    """The trials, best first, and the bundle of the best one."""
    if summary.already_finished:
        return f"nothing to do: the run in {summary.output} is finished."
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
        parts.append(f"left out, unreadable: {counted(summary.num_failed, 'image')}")
    parts += [
        f"best: trial {summary.best.number}, {summary.monitor} {cell(summary.best.value)}",
        f"bundle: {summary.bundle}",
        f"trials: {summary.output}/trials.csv",
    ]
    return "\n".join(parts)


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
