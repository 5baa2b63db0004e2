"""A training that was killed ends as one that was not, to the last bit, whatever its callbacks."""

import dataclasses
from pathlib import Path

import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.models import bundle
from cnnjobs.training.train_plan import plan, task_of
from tests.support.trainings import train_here, train_task
from tests.training.killed import TIMES, KilledError, write_data

EPOCHS, KILLED_AFTER = 8, 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 40 noisy images of two classes."""
    return write_data(tmp_path_factory.mktemp("data"))


def _trained(
    data: Path,
    output: Path,
    killed_after: int | None,
    *,
    first_epochs: int | None = None,
    **settings: object,
) -> object:
    """History without times, and weights, of a training killed after some epochs and resumed.

    With `first_epochs`, a training of so many epochs is finished before it goes on.
    """
    import keras

    def kill(epoch: int, logs: object) -> None:
        if epoch + 1 == killed_after:
            raise KilledError

    config = TrainConfig(
        data=str(data),
        output=str(output),
        model="digits",
        positive="bright",
        epochs=EPOCHS,
        batch_size=8,
        **settings,
    )
    planned = plan(config)
    task = task_of(planned, planned.output)
    if killed_after is not None:
        with pytest.raises(KilledError):
            train_task(task, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=kill)])
    if first_epochs is not None:
        shorter = dataclasses.replace(task.config, epochs=first_epochs)
        train_task(dataclasses.replace(task, config=shorter))
    history = train_task(task)
    model = bundle.load_model(bundle.read(str(output)))
    logs = [{name: epoch[name] for name in epoch.keys() - TIMES} for epoch in history]
    return logs, [weights.tobytes() for weights in model.get_weights()]


@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("early_stopping", [None, 2])
# at the lowest rate the loss falls by less than what counts as an improvement
@pytest.mark.parametrize(
    ("schedule", "learning_rate"), [("constant", 1e-2), ("cosine", 1e-2), ("plateau", 1e-7)]
)
def test_a_killed_training_ends_as_one_that_was_not(
    data: Path,
    tmp_path: Path,
    schedule: str,
    learning_rate: float,
    early_stopping: int | None,
    mixed_precision: bool,
) -> None:
    settings = {
        "schedule": schedule,
        "learning_rate": learning_rate,
        "early_stopping": early_stopping,
        "mixed_precision": mixed_precision,
        "keep": "best",
    }
    whole = _trained(data, tmp_path / "whole", None, **settings)
    # a training may have stopped before
    killed_after = min(KILLED_AFTER, len(whole[0]))

    assert _trained(data, tmp_path / "killed", killed_after, **settings) == whole


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 6},
        {"optimizer": "sgd", "weight_decay": 0.1, "label_smoothing": 0.2, "schedule": "plateau"},
        {"optimizer": "adamw", "warmup": 2, "mixed_precision": True, "early_stopping": 2},
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_a_killed_training_ends_as_one_that_was_not_with_every_optimizer(
    data: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    whole = _trained(data, tmp_path / "whole", None, **settings)
    killed_after = min(KILLED_AFTER, len(whole[0]))

    assert _trained(data, tmp_path / "killed", killed_after, **settings) == whole


@pytest.mark.parametrize(
    ("schedule", "learning_rate"), [("constant", 1e-2), ("plateau", 1e-7), ("cosine", 1e-2)]
)
def test_more_epochs_on_a_finished_training_follow_the_schedule_of_so_many_from_the_start(
    data: Path, tmp_path: Path, schedule: str, learning_rate: float
) -> None:
    settings = {"schedule": schedule, "learning_rate": learning_rate, "keep": "best"}
    whole = _trained(data, tmp_path / "whole", None, **settings)
    more = _trained(data, tmp_path / "more", None, first_epochs=KILLED_AFTER, **settings)

    rates = [[epoch["learning_rate"] for epoch in logs] for logs, _ in (whole, more)]
    assert rates[0][KILLED_AFTER:] == rates[1][KILLED_AFTER:]
    if schedule == "cosine":
        # the first epochs fell to 0 earlier
        assert rates[1][KILLED_AFTER - 1] == 0 < rates[0][KILLED_AFTER - 1]
    else:
        assert more == whole


@pytest.mark.parametrize("killed_after", [2, 4, 6])
def test_a_training_killed_before_at_or_after_its_unfreezing_ends_as_one_that_was_not(
    data: Path, tmp_path: Path, initial: str, whole_transfer: object, killed_after: int
) -> None:
    killed = _trained(data, tmp_path / "killed", killed_after, init=initial, **TRANSFER)

    assert killed == whole_transfer


TRANSFER = {
    "freeze": "backbone",
    "unfreeze_at": 5,
    "schedule": "plateau",
    "learning_rate": 1e-7,
    "early_stopping": 7,
    "keep": "best",
    "augment": "light",
}


@pytest.fixture(scope="module")
def initial(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle of a training of one epoch."""
    output = tmp_path_factory.mktemp("initial") / "run"
    settings = {"model": "digits", "positive": "bright", "epochs": 1}
    train_here(TrainConfig(data=str(data), output=str(output), **settings))
    return str(output)


@pytest.fixture(scope="module")
def whole_transfer(data: Path, initial: str, tmp_path_factory: pytest.TempPathFactory) -> object:
    """The uninterrupted training."""
    output = tmp_path_factory.mktemp("transfer") / "run"
    return _trained(data, output, None, init=initial, **TRANSFER)
