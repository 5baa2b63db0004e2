"""The training step and the test step, compiled for fixed shapes."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cnnjobs.training.distributed import batch_normalization
from cnnjobs.training.distributed.workers import Workers


def make_train_step(model: Any, workers: Workers) -> Callable[..., Any]:
    """Return `step(images, labels, weights, num_global) -> (loss, scores, norm)`.

    `loss` is the mean over the global batch, and `norm` that of all its gradients before clipping,
    both the same on all workers; `scores` are this worker's, (L, 1) or (L, classes), from before
    the update. The optimizer receives gradients that are
    already summed over the workers, so clipping and loss scaling work as in a single process.
    """
    optimizer, trainable = model.optimizer, model.trainable_variables
    memory = workers.share_memory(trainable)
    jit = model.jit_compile or None
    # XLA fuses Adam's ten passes over memory into one, which takes a third of the time on a CPU;
    # but it slows convolutions down there, so on CPUs it compiles only the update
    jit_update = jit or not tf.config.list_logical_devices("GPU") or None

    def differentiate(images: Any, labels: Any, weights: Any, num_global: Any) -> Any:
        with tf.GradientTape() as tape:
            with batch_normalization.counting(weights, workers):
                scores = model(images, training=True)
            losses = _losses(model, labels, scores)
            loss = tf.reduce_sum(weights * losses) / num_global
            loss += _penalty(model) / workers.num_workers
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, trainable, unconnected_gradients="zero")
        return gradients, loss, scores

    def update(gradients: list[Any]) -> None:
        optimizer.apply(gradients, trainable)

    # XLA has no sums over the workers on CPUs
    if workers.num_workers > 1 and batch_normalization.is_in(model):
        jit = None
    differentiate = tf.function(differentiate, autograph=False, jit_compile=jit)
    update = tf.function(update, autograph=False, jit_compile=jit_update)

    @tf.function(autograph=False)
    def step(images: Any, labels: Any, weights: Any, num_global: Any) -> Any:
        gradients, loss, scores = workers.run(differentiate, images, labels, weights, num_global)
        *gradients, loss = workers.sum([*gradients, loss], memory)
        scale = tf.cast(optimizer.scale_loss(1.0), tf.float32)
        # divided before they are squared, which could overflow, and which XLA does on one thread
        norm = tf.linalg.global_norm([gradient / scale for gradient in gradients])
        update(gradients)
        return loss, scores, norm

    return step


def make_test_step(model: Any) -> Callable[..., Any]:
    """Return `step(images, labels, weights) -> (sum of weighted losses, penalty, scores)`."""

    @tf.function(autograph=False, jit_compile=model.jit_compile or None)
    def step(images: Any, labels: Any, weights: Any) -> Any:
        scores = model(images, training=False)
        losses = _losses(model, labels, scores)
        return tf.reduce_sum(weights * losses), _penalty(model), scores

    return step


def _losses(model: Any, labels: Any, scores: Any) -> Any:
    """Return each row's loss, (L,) float32, of the kind the model was compiled with."""
    if scores.shape[-1] == 1:
        labels = tf.cast(labels[:, None], tf.float32)
    scores = tf.cast(scores, tf.float32)
    loss = keras.losses.get(model.loss)
    if isinstance(loss, keras.losses.CategoricalCrossentropy):
        # the sparse one has no label smoothing
        labels = tf.one_hot(labels, scores.shape[-1])
    losses = loss.call(labels, scores) if isinstance(loss, keras.Loss) else loss(labels, scores)
    return tf.ensure_shape(losses, scores.shape[:1])


def _penalty(model: Any) -> Any:
    """Return the sum of the losses that layers add, such as weight regularization."""
    return tf.add_n([tf.cast(loss, tf.float32) for loss in model.losses] or [tf.constant(0.0)])
