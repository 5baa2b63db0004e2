"""The trials of a search, ranked and as a table."""

import pytest

from cnnjobs.errors import TrainingError
from cnnjobs.training import trials
from cnnjobs.training.trials import FAILED, FINISHED, STOPPED, Trial


def trial(number: int, status: str, value: float | None, error: str | None = None) -> Trial:
    settings = {"learning_rate": number / 10}
    return Trial(
        number=number, status=status, settings=settings, value=value, epochs=2, error=error
    )


ALL = [
    trial(1, FAILED, None, "the loss is nan."),
    trial(2, FINISHED, 0.7),
    trial(3, STOPPED, 0.9),
    trial(4, FINISHED, 0.8),
]


@pytest.mark.parametrize(
    ("monitor", "order"), [("val_auroc", [3, 4, 2, 1]), ("val_loss", [2, 4, 3, 1])]
)
def test_a_loss_is_better_when_low_and_a_failure_comes_last(monitor: str, order: list[int]) -> None:
    assert [one.number for one in trials.ranked(ALL, monitor)] == order


def test_only_a_trial_that_finished_can_be_the_best() -> None:
    assert trials.best(trials.ranked(ALL, "val_auroc")).number == 4


def test_without_a_finished_trial_the_error_names_the_first_failure() -> None:
    with pytest.raises(TrainingError) as failed:
        trials.best(trials.ranked([*ALL[:1], ALL[2]], "val_auroc"))

    assert str(failed.value) == "no trial finished, 1 of 2 failed; trial 1: the loss is nan."


def test_the_table_is_sorted_by_number() -> None:
    assert trials.table(trials.ranked(ALL[:2], "val_auroc"), "val_auroc").splitlines() == [
        "trial,status,epochs,val_auroc,learning_rate,error",
        "1,failed,2,,0.1,the loss is nan.",
        "2,finished,2,0.7,0.2,",
    ]
