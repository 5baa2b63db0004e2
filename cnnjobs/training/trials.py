"""The trials of a search: their results, which is best, and their table."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnjobs.errors import TrainingError

#: The value of a setting.
Setting = str | int | float | bool | None

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of `trials.csv`.

    Attributes:
        number: from 1, in the order in which trials start.
        status: finished, stopped (by ASHA, because others were better) or failed.
        settings: drawn for it.
        value: the best value of the monitored metric; None if it finished no epoch.
        epochs: that it finished.
        error: why it failed, in one line.
    """

    number: int
    status: str
    settings: Mapping[str, Setting]
    value: float | None
    epochs: int
    error: str | None


def mode(monitor: str) -> str:
    """`min` if a lower value of the monitored metric is better, otherwise `max`."""
    return "min" if monitor.endswith("loss") else "max"


def ranked(trials: Sequence[Trial], monitor: str) -> list[Trial]:
    """Best first, failed ones last."""
    return sorted(trials, key=lambda trial: _rank(trial, monitor))


def best(trials: Sequence[Trial]) -> Trial:
    """The first of the ranked trials that finished.

    Raises:
        TrainingError: none finished; says why the first one failed.
    """
    finished = [trial for trial in trials if trial.status == FINISHED]
    if finished:
        return finished[0]
    # at least one failed: a trial is only stopped if another one was better
    failed = [trial for trial in trials if trial.status == FAILED]
    first = failed[0]
    raise TrainingError(
        f"no trial finished, {len(failed)} of {len(trials)} failed; trial {first.number}: "
        f"{first.error}"
    )


def table(trials: Sequence[Trial], monitor: str) -> str:
    """CSV with one row per trial, by number; the column of the value has the metric's name."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = list(trials[0].settings)
    writer.writerow(["trial", "status", "epochs", monitor, *names, "error"])
    for trial in sorted(trials, key=lambda trial: trial.number):
        drawn = [trial.settings[name] for name in names]
        writer.writerow(
            [trial.number, trial.status, trial.epochs, trial.value, *drawn, trial.error]
        )
    return text.getvalue()


def _rank(trial: Trial, monitor: str) -> tuple[bool, float, int]:
    if trial.status == FAILED or trial.value is None:
        return True, 0.0, trial.number
    return False, trial.value if mode(monitor) == "min" else -trial.value, trial.number
