"""The trials of a search: what each came to, which is best, and their table."""

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
        number: from 1, in the order in which trials are started.
        status: finished, stopped (by ASHA, for being behind) or failed.
        settings: those that were drawn for it.
        value: the best of the monitored metric over its epochs; None if there was none.
        epochs: that it trained.
        error: why it failed, in one line.
    """

    number: int
    status: str
    settings: Mapping[str, Setting]
    value: float | None
    epochs: int
    error: str | None


def mode(monitor: str) -> str:
    """Whether the monitored metric is better when it is low: `min` or `max`."""
    return "min" if monitor.endswith("loss") else "max"


def ranked(trials: Sequence[Trial], monitor: str) -> list[Trial]:
    """Best first, failed ones last."""
    return sorted(trials, key=lambda trial: _rank(trial, monitor))


def best(trials: Sequence[Trial]) -> Trial:
    """The first of the ranked trials that came to its end.

    Raises:
        TrainingError: there is none; says why the first one failed.
    """
    finished = [trial for trial in trials if trial.status == FINISHED]
    if finished:
        return finished[0]
    # a trial that is stopped was behind another
    failed = [trial for trial in trials if trial.status == FAILED]
    first = failed[0]
    raise TrainingError(
        f"no trial came to its end, {len(failed)} of {len(trials)} failed; trial {first.number}: "
        f"{first.error}"
    )


def table(trials: Sequence[Trial], monitor: str) -> str:
    """CSV of one row a trial in the order of their numbers; the value has the metric's name."""
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
