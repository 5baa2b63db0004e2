"""Batch normalization over the global batch, so that it does not depend on the number of workers.

Ioffe and Szegedy 2015 (arXiv 1502.03167). The layer of Keras counts the padding of short batches,
also with `synchronized=True`, which does not combine with a mask.
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cnnjobs.errors import TrainingError
from cnnjobs.training.distributed.workers import Workers

_NAME = "cnnjobs>BatchNormalization"


class _Step(NamedTuple):
    counted: Any
    workers: Workers


_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)


def synchronized(model: "keras.Model", num_workers: int) -> "keras.Model":
    """The same model and weights, for training, with the statistics of `counting` in every layer.

    The weights have the order and the shapes of those of `model`. A model without batch
    normalization is returned as it is.

    Raises:
        TrainingError: a layer uses batch renormalization, and there are several workers.
    """
    config = model.get_config()
    layers = list(_normalizations(config))
    if num_workers > 1 and any(layer["config"].get("renorm") for layer in layers):
        raise TrainingError(
            f"{model.name} uses BatchNormalization(renorm=True), whose statistics several workers "
            "cannot share; leave out renorm, or train with one worker."
        )
    if not layers:
        return model
    for layer in layers:
        layer["registered_name"] = _NAME
    rebuilt = type(model).from_config(config, custom_objects={_NAME: _BatchNormalization})
    rebuilt.set_weights(model.get_weights())
    return rebuilt


@contextlib.contextmanager
def counting(weights: Any, workers: Workers) -> Iterator[None]:
    """Statistics are over all workers' rows of non-zero weight, while a step is traced.

    `weights`: (L,), of this worker's rows. Use it inside `workers.run`.
    """
    token = _STEP.set(_Step(tf.cast(weights > 0, tf.float32), workers))
    try:
        yield
    finally:
        _STEP.reset(token)


class _BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' layer, but for the statistics of a training step."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        step = _STEP.get()
        if step is None or not training or not self.trainable or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        values = tf.cast(inputs, tf.float32)
        mean, variance = _moments(values, self.axis % len(values.shape), mask, step)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        outputs = keras.ops.batch_normalization(
            values, mean, variance, self.axis, self.beta, self.gamma, self.epsilon
        )
        return tf.cast(outputs, self.compute_dtype)


def _moments(values: Any, axis: int, mask: Any, step: _Step) -> tuple[Any, Any]:
    """Mean and variance along all axes but one, each (channels,), over the rows of all workers.

    Each worker's moments are combined as by Chan, Golub and LeVeque 1979, with a single sum. It is
    in float64, in which the mean's square can be subtracted without loss.
    """
    shape = values.shape
    # layers before this one may have cut each image into several rows
    counted = tf.repeat(step.counted, shape[0] // step.counted.shape[0])
    counted = tf.reshape(counted, [shape[0]] + [1] * (len(shape) - 1))
    if mask is not None:
        counted *= tf.cast(mask, tf.float32)[..., None]
    others = [other for other in range(len(shape)) if other != axis]
    per_channel = [1 if other != axis else shape[axis] for other in range(len(shape))]
    number = tf.reduce_sum(counted) * (math.prod(shape) / math.prod(counted.shape) / shape[axis])
    mean = tf.reduce_sum(counted * values, others) / tf.maximum(number, 1.0)
    squares = tf.square(values - tf.reshape(mean, per_channel))
    squares = tf.reduce_sum(counted * squares, others)

    number, mean, squares = (tf.cast(part, tf.float64) for part in (number, mean, squares))
    parts = [number[None], number * mean, squares + number * tf.square(mean)]
    number, mean, squares = tf.split(
        step.workers.sum_in_run(tf.concat(parts, 0)), [1, shape[axis], shape[axis]]
    )
    number = tf.maximum(number, 1.0)
    mean /= number
    variance = tf.maximum(squares / number - tf.square(mean), 0.0)
    return tf.cast(mean, tf.float32), tf.cast(variance, tf.float32)


def _normalizations(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the description of every such layer in a model's configuration, however deep."""
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _normalizations(part)
    if isinstance(config, dict):
        if config.get("class_name") == "BatchNormalization":
            yield config
        for part in config.values():
            yield from _normalizations(part)
