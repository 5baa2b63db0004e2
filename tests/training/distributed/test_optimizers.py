"""What the options of the optimizer mean: the same as in Keras' own `fit`."""

from typing import Any

import keras
import numpy as np
import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.training.distributed import optimizers
from cnnjobs.training.distributed.batches import InMemory
from cnnjobs.training.distributed.loop import fit
from tests.training.distributed.small_models import (
    GLOBAL_BATCH_SIZE,
    SEED,
    conv_model,
    keras_fit,
    largest_difference,
    rows,
)

RATE, EPOCHS, STEPS = 0.01, 4, 5


def _config(**settings: Any) -> TrainConfig:
    return TrainConfig(data="data", output="run", epochs=EPOCHS, **settings)


def _made(**settings: Any) -> Any:
    return optimizers.optimizer(
        _config(**settings), steps_per_epoch=STEPS, epochs=EPOCHS, rate=RATE
    )


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"optimizer": "adamw"}, lambda: keras.optimizers.AdamW(RATE)),
        (
            {"optimizer": "adamw", "weight_decay": 0.3},
            lambda: keras.optimizers.AdamW(RATE, weight_decay=0.3),
        ),
        (
            {"optimizer": "sgd", "weight_decay": 0.3, "clip_norm": 0.1},
            lambda: keras.optimizers.SGD(RATE, weight_decay=0.3, global_clipnorm=0.1),
        ),
        ({"optimizer": "sgd"}, lambda: keras.optimizers.SGD(RATE)),
    ],
)
def test_a_training_with_these_options_is_that_of_keras(settings: Any, make: Any) -> None:
    train, validation = rows(37), rows(11)
    ours, theirs = conv_model(_made(**settings)), conv_model(make())
    before = ours.get_weights()

    fit(ours, train, validation, epochs=2, global_batch_size=GLOBAL_BATCH_SIZE, seed=SEED)
    keras_fit(theirs, train, validation, epochs=2)

    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    assert largest_difference(ours.get_weights(), before) > 1e-3


@pytest.mark.parametrize("num_classes", [2, 3])
def test_label_smoothing_is_that_of_keras(num_classes: int) -> None:
    train, validation = rows(37, num_classes), rows(11, num_classes)
    num_outputs = 1 if num_classes == 2 else num_classes
    smoothed = optimizers.loss(_config(label_smoothing=0.3), num_outputs)
    ours = conv_model("adam", num_outputs=num_outputs)
    ours.compile(optimizer="adam", loss=smoothed)

    history = fit(ours, train, validation, epochs=2, global_batch_size=8, seed=SEED)

    theirs = conv_model("adam", num_outputs=num_outputs)
    theirs.compile(optimizer="adam", loss=smoothed)
    if num_classes > 2:
        # Keras smooths one-hot labels
        train, validation = (
            InMemory(split.all_images, np.eye(num_classes, dtype=np.int64)[split.all_labels])
            for split in (train, validation)
        )
    logs = keras_fit(theirs, train, validation, epochs=2)
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    for name in ("loss", "val_loss"):
        assert [epoch[name] for epoch in history] == pytest.approx(
            [epoch[name] for epoch in logs], rel=1e-5
        )


def test_the_rate_rises_in_a_line_and_then_follows_the_schedule() -> None:
    def rates(schedule: str) -> list[float]:
        rates = []
        optimizer = _made(schedule=schedule, warmup=2)
        for step in range(EPOCHS * STEPS + 1):
            optimizer.iterations.assign(step)
            rates.append(float(optimizer.learning_rate))
        return rates

    line = [RATE * step / 10 for step in range(10)]
    cosine = [RATE * (1 + np.cos(np.pi * step / 10)) / 2 for step in range(11)]
    assert rates("constant") == pytest.approx([*line, *[RATE] * 11], abs=1e-8)
    assert rates("cosine") == pytest.approx([*line, *cosine], abs=1e-8)
