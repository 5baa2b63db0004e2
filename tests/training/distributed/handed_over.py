"""A training that is killed after two of four epochs, and resumed with other workers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from cnnjobs.models import UserModel
from cnnjobs.training.distributed.task import Task

EPOCHS, KILLED_AFTER = 4, 2

#: What a clock, or the process, decides.
UNTIMED = {"seconds", "images_per_second", "wait_share", "peak_memory_bytes"}

_SOURCE = """
import keras
from keras import layers

def normalized(num_labels):
    return keras.Sequential([
        keras.Input((10, 10, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ])
"""


class Ended(NamedTuple):
    """The history without times, and the weights of the bundle."""

    history: list[Mapping[str, float | None]]
    weights: list[npt.NDArray[Any]]


class KilledError(Exception):
    """Stands for whatever ends the process."""


def task_in(task: Task, name: str) -> Task:
    """The same images, for another model in a run directory of its own."""
    model = UserModel(source=_SOURCE, function="normalized", file_name="normalized.py")
    settings: dict[str, Any] = {
        "epochs": EPOCHS,
        "batch_size": 12,
        "schedule": "plateau",
        "monitor": "val_loss",
    }
    return dataclasses.replace(
        task,
        model=model,
        architecture=model.name,
        run_uri=f"{task.run_uri}-{name}",
        config=dataclasses.replace(task.config, **settings),
    )


def killed(train: Callable[..., Any]) -> None:
    """Call `train(callbacks=...)`, which ends after some epochs."""
    import keras

    def kill(epoch: int, logs: object) -> None:
        if epoch + 1 == KILLED_AFTER:
            raise KilledError

    try:
        train(callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=kill)])
    except KilledError:
        return
    raise AssertionError("the training was not killed")


def ended(task: Task, history: Any) -> Ended:
    """What a finished training has left."""
    from cnnjobs.models import bundle

    return Ended(
        [{name: epoch[name] for name in epoch.keys() - UNTIMED} for epoch in history],
        bundle.load_model(bundle.read(task.run_uri)).get_weights(),
    )
