"""Keras' optimizer, learning-rate schedule and loss for the settings of a training."""

from typing import Any

import keras

from cnnjobs.config import TrainConfig

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def optimizer(config: TrainConfig, *, steps_per_epoch: int, epochs: int, rate: float) -> Any:
    """A new optimizer for this many epochs, the first of which warm up to the learning rate.

    Weight decay is decoupled from the gradient, as Keras does it for every optimizer: each step
    first takes learning rate x `weight_decay` of every trainable weight (AdamW of Loshchilov and
    Hutter, arXiv 1711.05101).
    """
    settings: dict[str, Any] = {"global_clipnorm": config.clip_norm}
    if config.weight_decay is not None:
        settings["weight_decay"] = config.weight_decay
    warmup = config.warmup * steps_per_epoch
    schedule = _schedule(config.schedule, rate, warmup, epochs * steps_per_epoch)
    made = _OPTIMIZERS[config.optimizer](schedule, **settings)
    if keras.mixed_precision.global_policy().name == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(made)
    return made


def loss(config: TrainConfig, num_outputs: int) -> Any:
    """The loss of one sigmoid output, or of the softmax over several classes."""
    if num_outputs == 1:
        if not config.label_smoothing:
            return "binary_crossentropy"
        return keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing)
    if not config.label_smoothing:
        return "sparse_categorical_crossentropy"
    return keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)


def _schedule(name: str, rate: float, warmup: int, steps: int) -> Any:
    """The learning rate: a number, or a function of the step; it warms up from 0 in a line."""
    schedules = keras.optimizers.schedules
    if name == "cosine" and warmup:
        return schedules.CosineDecay(0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup)
    if name == "cosine":
        return schedules.CosineDecay(rate, steps)
    return schedules.PolynomialDecay(0.0, warmup, end_learning_rate=rate) if warmup else rate
