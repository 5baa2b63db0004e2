"""Checkpoints: everything a training needs to continue as if it had not been interrupted.

Weights, optimizer state, the number of finished epochs, the history and the state of the callbacks.
Order and dropout need no state: they depend only on the seed and the epoch.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cnnjobs.errors import StorageError, TrainingError
from cnnjobs.storage import json_files
from cnnjobs.training.distributed import checkpoint_files
from cnnjobs.training.distributed.checkpoint_files import BEST, LAST, Progress
from cnnjobs.training.distributed.phases import Phase
from cnnjobs.training.distributed.workers import Workers

#: What Keras' callbacks learn from epoch to epoch. Their settings are not part of it: on the first
#: epoch Keras changes the sign of `min_delta`, and would do so again.
_LEARNED = ("best", "best_epoch", "cooldown_counter", "stopped_epoch", "wait")


class Checkpointer(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes `last.npz` after each epoch, and `best.npz` if the monitored value is the best yet.

    Must come after the callbacks whose state it saves. Every worker needs one, to keep the same
    state, but only rank 0 writes. If it cannot write, it stops all workers: the others would wait
    for rank 0 in the next step.
    """

    def __init__(
        self,
        folder: str,
        *,
        monitor: str,
        stateful: Sequence[Any],
        start: Progress,
        workers: Workers,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._monitor = monitor
        self._sign = 1 if monitor.endswith("loss") else -1
        self._stateful = stateful
        self._start = start
        self._workers = workers
        self._best = start.best
        self.history = list(start.history)

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore the state of the callbacks, which their own `on_train_begin` has just reset."""
        for callback, state in zip(self._stateful, self._start.callbacks, strict=False):
            # checkpoints of older versions have more
            vars(callback).update({name: state[name] for name in _LEARNED if name in state})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {name: _defined(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **values})
        value = values.get(self._monitor)
        is_best = value is not None and (
            self._best is None or self._sign * value < self._sign * self._best
        )
        if is_best:
            self._best = value
        failure = ""
        if self._workers.rank == 0:
            try:
                self._write(epoch, is_best=is_best)
            except StorageError as error:
                failure = str(error)
        # as JSON, because workers cannot sum an empty text
        failure = json.loads(self._workers.text_from_first(json_files.text(failure)))
        if failure:
            raise TrainingError(failure)

    def _write(self, epoch: int, *, is_best: bool) -> None:
        if is_best:
            checkpoint_files.write(self._folder, BEST, self.model.get_weights(), {})
        state = {
            "epochs_done": epoch + 1,
            "history": self.history,
            "stopped": bool(self.model.stop_training),
            "best": self._best,
            "callbacks": [_state_of(callback) for callback in self._stateful],
        }
        arrays = [np.asarray(value) for value in _state_values(self.model)]
        checkpoint_files.write(self._folder, LAST, arrays, state)


def restore(folder: str, model: Any, phase: Phase) -> Progress:
    """Set the weights to those of `last.npz`, and the optimizer, if it is of the same phase.

    Without a checkpoint nothing is changed.

    Raises:
        TrainingError: the checkpoint is damaged or from another model.
    """
    try:
        arrays, state = checkpoint_files.read(folder, LAST)
    except FileNotFoundError:
        return Progress()
    progress = Progress(**state)
    variables = _state_variables(model)
    if not phase.continues(progress.epochs_done):
        variables = model.weights
        arrays = arrays[: len(variables)]
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise TrainingError(f"{folder}/{LAST} is from another model; train without --resume.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return progress


def best_weights(folder: str) -> list[Any]:
    """The weights of the best epoch so far."""
    return checkpoint_files.read(folder, BEST)[0]


def _defined(value: float) -> float | None:
    """The value; None, which is never the best, if it is not a number."""
    value = float(value)
    return value if math.isfinite(value) else None


def _state_variables(model: Any) -> list[Any]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]


def _state_values(model: Any) -> list[Any]:
    return [variable.numpy() for variable in _state_variables(model)]


def _state_of(callback: Any) -> dict[str, Any]:
    """What a callback has learned so far."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
        if name in _LEARNED
    }
