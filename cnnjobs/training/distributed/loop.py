"""The training loop: epochs of steps on any number of workers, with the same result.

Every worker holds the whole model. Each worker divides its loss by the number of rows in the
*global* batch, so the sum of all workers' gradients is the gradient of the mean over the global
batch. Every worker then makes the same update.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnjobs import progress
from cnnjobs.errors import TrainingError
from cnnjobs.metrics import weighted
from cnnjobs.training.distributed.batches import Source, batches, prefetched
from cnnjobs.training.distributed.sharding import Share, epoch_order, num_steps, shares
from cnnjobs.training.distributed.steps import make_test_step, make_train_step
from cnnjobs.training.distributed.workers import Workers

STEPS_BETWEEN_READS = 32
"""Steps after which losses are read back from a GPU; each read waits for the device."""


def fit(
    model: Any,
    train: Source,
    validation: Source | None = None,
    *,
    epochs: int,
    global_batch_size: int,
    seed: int,
    initial_epoch: int = 0,
    callbacks: Sequence[Any] = (),
    row_weights: NDArray[np.float32] | None = None,
    workers: Workers | None = None,
) -> list[dict[str, float]]:
    """Train `model` and return the history: a dict of floats for every epoch.

    `model` is built and compiled (optimizer, loss, and any additional metrics), with one sigmoid
    output (N, 1) or a softmax (N, classes). Every worker builds it, outside any strategy's scope;
    all start from rank 0's weights and optimizer state, so only rank 0 has to load a checkpoint.
    `model.jit_compile` is respected.

    Batch normalization must come from `batch_normalization.synchronized`: the moving statistics of
    Keras' own layers are different on every worker.

    Every row is trained on once per epoch. `initial_epoch` is the number of finished epochs: order
    and dropout depend only on `seed`, the epoch and the worker, so a training that continues from
    a checkpoint of weights and optimizer ends with the result of an uninterrupted one.

    `row_weights`, (N,), weight the training rows in the loss; by default equally.

    `callbacks` receive the same logs on every worker. Those that change the model or its optimizer
    must be passed on every worker, those that write files only on rank 0. If one of them sets
    `model.stop_training` on any worker, all workers stop after that epoch. The logs of a batch
    contain the epoch's mean `loss` as of the last read.

    Keys of the history: `epoch` (from 1), `loss`, `accuracy`, `auroc` (two classes only), the
    metrics the model was compiled with, the same with `val_`, `learning_rate`, `gradient_norm` (of
    all gradients together, before clipping: the mean over the steps in which it is finite),
    `seconds` (of the training steps), `images_per_second` (over all workers), `wait_share` (of
    `seconds`, on this worker, spent waiting for the next batch) and `peak_memory_bytes` (of this
    worker's process since it started). Metrics are computed from the gathered scores of all rows,
    so they are exact for any number of workers.
    """
    workers = workers or Workers()
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    workers.copy_from_first(model.weights + model.optimizer.variables)
    steps = num_steps(len(train), global_batch_size)
    hooks = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=steps)
    passes = _Passes(model, workers, global_batch_size, hooks, row_weights)
    history: list[dict[str, float]] = []
    logs: dict[str, float] = {}
    model.stop_training = False
    hooks.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        hooks.on_epoch_begin(epoch)
        _reseed(model, seed, epoch, workers.rank)
        logs = passes.train(train, epoch_order(len(train), seed=seed, epoch=epoch), epoch)
        if validation is not None:
            hooks.on_test_begin()
            test_logs = passes.test(validation, epoch)
            hooks.on_test_end(test_logs)
            logs |= {f"val_{name}": value for name, value in test_logs.items()}
        logs["learning_rate"] = float(model.optimizer.learning_rate)
        logs["peak_memory_bytes"] = float(progress.peak_memory_bytes())
        history.append({"epoch": epoch + 1.0, **logs})
        hooks.on_epoch_end(epoch, logs)
        if workers.any(model.stop_training):
            break
    model.optimizer.finalize_variable_values(model.trainable_variables)
    hooks.on_train_end(logs)
    return history


class _Passes:
    """Passes over a data set, for training or validation; each returns its loss and metrics."""

    def __init__(
        self,
        model: Any,
        workers: Workers,
        global_batch_size: int,
        hooks: Any,
        row_weights: NDArray[np.float32] | None,
    ) -> None:
        self._model = model
        self._workers = workers
        self._global_batch_size = global_batch_size
        self._hooks = hooks
        self._row_weights = row_weights
        self._train_step = make_train_step(model, workers)
        self._test_step = make_test_step(model)
        self._on_gpu = bool(tf.config.list_logical_devices("GPU"))

    def train(self, source: Source, order: NDArray[np.int64], epoch: int) -> dict[str, float]:
        """Update the model once for every global batch of `order`."""
        tally = _Tally(source, self._model, epoch)
        feed = self._feed(source, order, self._row_weights)
        waited = 0.0
        start = asked = time.perf_counter()
        for number, (tensors, share) in enumerate(feed):
            waited += time.perf_counter() - asked
            self._hooks.on_train_batch_begin(number)
            results = self._train_step(*tensors, tf.constant(share.num_global, tf.float32))
            tally.add(share, *results)
            if not self._on_gpu or number % STEPS_BETWEEN_READS == 0:
                tally.read()
            self._hooks.on_train_batch_end(number, {"loss": tally.mean_loss()})
            asked = time.perf_counter()
        tally.read()
        seconds = time.perf_counter() - start
        (scores,) = self._workers.sum_now([tally.scores])
        return {
            "loss": tally.mean_loss(),
            **self._metrics(source, np.asarray(scores)),
            "gradient_norm": tally.mean_norm(),
            "seconds": seconds,
            "images_per_second": len(source) / seconds,
            "wait_share": waited / seconds,
        }

    def test(self, source: Source, epoch: int) -> dict[str, float]:
        """Score every row without changing the model."""
        table = _empty_scores(source, self._model)
        loss_sum, penalty = 0.0, 0.0
        for tensors, share in self._feed(source, np.arange(len(source))):
            batch_loss, batch_penalty, batch_scores = self._test_step(*tensors)
            loss_sum += float(batch_loss)
            penalty = float(batch_penalty)
            _store(table, share, batch_scores)
        total, scores = self._workers.sum_now([np.float64(loss_sum), table])
        loss = float(total) / len(source) + penalty
        _finite(loss, f"the validation loss after epoch {epoch + 1}")
        return {"loss": loss, **self._metrics(source, np.asarray(scores))}

    def _feed(
        self,
        source: Source,
        order: NDArray[np.int64],
        row_weights: NDArray[np.float32] | None = None,
    ) -> Iterator[tuple[list[Any], Share]]:
        """Yield prefetched tensors (images, labels, weights), each with its share."""
        own_shares = list(
            shares(
                order,
                global_batch_size=self._global_batch_size,
                rank=self._workers.rank,
                num_workers=self._workers.num_workers,
            )
        )
        return prefetched(
            ([tf.convert_to_tensor(array) for array in batch[:3]], batch.share)
            for batch in batches(source, own_shares, row_weights)
        )

    def _metrics(self, source: Source, scores: NDArray[np.float32]) -> dict[str, float]:
        """Return the metrics of all rows: `scores` is (N, 1) or (N, classes)."""
        labels = source.labels(np.arange(len(source)))
        columns = labels[:, None] if scores.shape[1] == 1 else labels
        self._model.reset_metrics()
        compiled = self._model.compute_metrics(x=None, y=columns, y_pred=scores)
        metrics = {name: float(value) for name, value in compiled.items() if name != "loss"}
        predicted = scores[:, 0] > 0.5 if scores.shape[1] == 1 else scores.argmax(axis=1)
        once = np.ones((1, len(labels)))
        metrics["accuracy"] = weighted.mean((predicted == labels).astype(float), once).item()
        if scores.shape[1] <= 2:
            ranked = weighted.by_score(scores[:, -1], labels == 1, once)
            metrics["auroc"] = weighted.auroc(*ranked).item()
        return metrics


class _Tally:
    """The results of the steps of an epoch; they stay on the device until read."""

    def __init__(self, source: Source, model: Any, epoch: int) -> None:
        self.scores = _empty_scores(source, model)
        self._epoch = epoch
        self._unread: list[tuple[Share, Any, Any, Any]] = []
        self._norms: list[float] = []
        self._num_steps = 0
        self._num_rows = 0
        self._loss_sum = 0.0

    def add(self, share: Share, loss: Any, scores: Any, norm: Any) -> None:
        self._unread.append((share, loss, scores, norm))

    def read(self) -> None:
        for share, loss, scores, norm in self._unread:
            self._num_steps += 1
            self._num_rows += share.num_global
            self._loss_sum += share.num_global * _finite(
                float(loss), f"the loss at epoch {self._epoch + 1}, step {self._num_steps}"
            )
            _store(self.scores, share, scores)
            self._norms.append(float(norm))
        self._unread.clear()

    def mean_loss(self) -> float:
        return self._loss_sum / self._num_rows

    def mean_norm(self) -> float:
        # loss scaling skips the steps in which it is not finite
        finite = [norm for norm in self._norms if math.isfinite(norm)]
        return sum(finite) / len(finite) if finite else math.nan


def _empty_scores(source: Source, model: Any) -> NDArray[np.float32]:
    return np.zeros((len(source), model.output_shape[-1]), np.float32)


def _store(table: NDArray[np.float32], share: Share, scores: Any) -> None:
    table[share.rows[: share.num_real]] = np.asarray(scores)[: share.num_real]


def _finite(loss: float, name: str) -> float:
    if math.isfinite(loss):
        return loss
    raise TrainingError(
        f"{name} is {loss}; lower the learning rate, clip gradients, or check the images."
    )


def _reseed(model: Any, seed: int, epoch: int, rank: int) -> None:
    """Set the random state of dropout and augmentation for this epoch on this worker."""
    known = {id(variable) for variable in model.weights + model.metrics_variables}
    states = [variable for variable in model.variables if id(variable) not in known]
    for number, state in enumerate(states):
        (word,) = np.random.SeedSequence([seed, epoch, rank, number]).generate_state(1)
        state.assign([int(word), 0])
