"""The loop in one process: the same as Keras' own `fit`, and what `fit` does not do."""

import csv
import math
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from cnnjobs.errors import TrainingError
from cnnjobs.training.distributed.batches import prefetched
from cnnjobs.training.distributed.loop import fit
from cnnjobs.training.distributed.sharding import epoch_order
from tests.training.distributed.small_models import (
    GLOBAL_BATCH_SIZE,
    SEED,
    conv_model,
    keras_fit,
    largest_difference,
    rows,
)

RUN: dict[str, Any] = {"epochs": 2, "global_batch_size": GLOBAL_BATCH_SIZE, "seed": SEED}

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "clipped": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "averaged": lambda: keras.optimizers.Adam(0.01, use_ema=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loop_trains_as_keras_fit_does(optimizer: str) -> None:
    train, validation = rows(37), rows(11)
    # at the end of every call, Keras' fit overwrites the weights with their moving average
    epochs = 1 if optimizer == "averaged" else 2
    ours = conv_model(OPTIMIZERS[optimizer](), metrics=["accuracy"])
    history = fit(ours, train, validation, **RUN | {"epochs": epochs})
    theirs = conv_model(OPTIMIZERS[optimizer](), metrics=["accuracy"])
    logs = keras_fit(theirs, train, validation, epochs)
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    assert [{name: record[name] for name in logs[0]} for record in history] == [
        pytest.approx(log, rel=1e-5) for log in logs
    ]


def test_the_loop_trains_as_keras_fit_does_on_three_classes() -> None:
    train, validation = rows(37, num_classes=3), rows(11, num_classes=3)
    ours = conv_model("adam", num_outputs=3, metrics=["accuracy"])
    history = fit(ours, train, validation, **RUN)
    theirs = conv_model("adam", num_outputs=3, metrics=["accuracy"])
    logs = keras_fit(theirs, train, validation, epochs=2)
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    assert [{name: record[name] for name in logs[0]} for record in history] == [
        pytest.approx(log, rel=1e-5) for log in logs
    ]
    assert "auroc" not in history[0]


def test_row_weights_work_like_class_weights_in_keras_fit() -> None:
    train, validation = rows(37), rows(11)
    ours, theirs = conv_model("adam"), conv_model("adam")
    weights = np.array([0.25, 3.0], np.float32)[train.all_labels]
    history = fit(ours, train, validation, row_weights=weights, **RUN)
    logs = keras_fit(theirs, train, validation, epochs=2, class_weight={0: 0.25, 1: 3.0})
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    assert history[1]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-5)
    assert history[1]["val_loss"] == pytest.approx(logs[1]["val_loss"], rel=1e-5)


def test_a_record_has_every_key_with_a_plain_float() -> None:
    (record,) = fit(conv_model("adam"), rows(37), rows(11), **RUN | {"epochs": 1})
    assert list(record) == [
        "epoch", "loss", "accuracy", "auroc", "gradient_norm", "seconds", "images_per_second",
        "wait_share", "val_loss", "val_accuracy", "val_auroc", "learning_rate", "peak_memory_bytes",
    ]  # fmt: skip
    assert {type(value) for value in record.values()} == {float}
    assert 0 <= record["wait_share"] <= 1


@pytest.mark.parametrize("loss_scale", [None, 2.0**100])
def test_the_gradient_norm_is_the_mean_over_the_steps_before_clipping(
    loss_scale: float | None,
) -> None:
    train = rows(37)
    optimizer = keras.optimizers.SGD(0.0, global_clipnorm=1e-3)
    if loss_scale is not None:
        # gradients so large that their squares overflow
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=loss_scale)
    model = conv_model(optimizer)
    (record,) = fit(model, train, **RUN | {"epochs": 1})

    order = epoch_order(37, seed=SEED, epoch=0)
    norms = []
    for start in range(0, 37, GLOBAL_BATCH_SIZE):
        batch = order[start : start + GLOBAL_BATCH_SIZE]
        with tf.GradientTape() as tape:
            scores = model(train.all_images[batch], training=True)[:, 0]
            loss = tf.reduce_mean(
                keras.losses.binary_crossentropy(train.all_labels[batch][:, None], scores[:, None])
            ) + tf.add_n(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        norms.append(np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients)))
    assert record["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
    assert record["gradient_norm"] > 1e-2


def test_validation_is_optional() -> None:
    (record,) = fit(conv_model("adam"), rows(37), **RUN | {"epochs": 1})
    assert not [name for name in record if name.startswith("val_")]


def test_the_same_seed_gives_the_same_bits() -> None:
    def weights(seed: int) -> list[npt.NDArray[Any]]:
        model = conv_model("adam", inner=(keras.layers.Dropout(0.5),))
        fit(model, rows(37), **RUN | {"seed": seed})
        return list(model.get_weights())

    assert largest_difference(weights(3), weights(3)) == 0
    assert largest_difference(weights(3), weights(4)) > 0


def test_a_resumed_run_ends_with_the_same_bits() -> None:
    def build() -> Any:
        inner = (keras.layers.RandomTranslation(0.1, 0.1), keras.layers.Dropout(0.5))
        return conv_model(keras.optimizers.Adam(0.01), inner=inner)

    whole, first, second = build(), build(), build()
    fit(whole, rows(37), **RUN | {"epochs": 4})
    fit(first, rows(37), **RUN)
    second.optimizer.build(second.trainable_variables)
    second.set_weights(first.get_weights())
    for to, value in zip(second.optimizer.variables, first.optimizer.variables, strict=True):
        to.assign(value)
    history = fit(second, rows(37), **RUN | {"initial_epoch": 2, "epochs": 4})
    assert [record["epoch"] for record in history] == [3.0, 4.0]
    assert largest_difference(whole.get_weights(), second.get_weights()) == 0


def test_the_standard_callbacks_work(tmp_path: Path) -> None:
    class NoProgress(keras.callbacks.Callback):  # type: ignore[misc]
        """Report no improvement, which makes the callbacks after this one act."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs["val_auroc"] = 0.5

    model = conv_model(keras.optimizers.Adam(0.01))
    callbacks = [
        NoProgress(),
        keras.callbacks.EarlyStopping("val_auroc", mode="max", patience=3),
        keras.callbacks.ReduceLROnPlateau("val_auroc", mode="max", patience=1, factor=0.5),
        keras.callbacks.CSVLogger(tmp_path / "history.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", histogram_freq=1),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    history = fit(model, rows(37), rows(11), callbacks=callbacks, **RUN | {"epochs": 9})
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    rates = [record["learning_rate"] for record in history]
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0025])
    with (tmp_path / "history.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in logged] == [record["loss"] for record in history]
    assert len(list((tmp_path / "board").glob("*/events*"))) == 2
    assert len(list(tmp_path.glob("*.h5"))) == 4


def test_early_stopping_restores_the_best_weights() -> None:
    model = conv_model(keras.optimizers.SGD(5.0))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = fit(model, rows(37), rows(11), callbacks=[stop], **RUN | {"epochs": 20})
    best = min(record["val_loss"] for record in history)
    assert history[-1]["val_loss"] > best
    validation = rows(11)
    loss = model.evaluate(validation.all_images, validation.all_labels, verbose=0)
    assert loss == pytest.approx(best, rel=1e-5)


def test_callbacks_see_the_mean_loss_so_far_after_every_batch() -> None:
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"]))
    )
    (last,) = fit(conv_model("adam"), rows(37), callbacks=[record], **RUN | {"epochs": 1})
    assert [batch for batch, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[-1][1] == last["loss"]


def test_the_error_for_a_loss_that_is_not_a_number_names_the_step() -> None:
    def loss(labels: Any, scores: Any) -> Any:
        return keras.ops.sqrt(labels[:, 0]) + 0 * scores[:, 0]

    train = rows(37)
    train.all_labels[5] = -1
    position = epoch_order(37, seed=SEED, epoch=0).tolist().index(5)
    model = conv_model("adam")
    model.compile("adam", loss)
    with pytest.raises(TrainingError) as caught:
        fit(model, train, **RUN)
    assert str(caught.value) == (
        f"the loss at epoch 1, step {position // GLOBAL_BATCH_SIZE + 1} is nan; "
        "lower the learning rate, clip gradients, or check the images."
    )


def test_the_error_for_a_validation_loss_that_is_not_a_number_names_the_epoch() -> None:
    def loss(labels: Any, scores: Any) -> Any:
        return keras.ops.sqrt(labels[:, 0]) + 0 * scores[:, 0]

    validation = rows(11)
    validation.all_labels[5] = -1
    model = conv_model("adam")
    model.compile("adam", loss)
    with pytest.raises(TrainingError, match=r"^the validation loss after epoch 1 is nan"):
        fit(model, rows(37), validation, **RUN)


def test_nothing_is_retraced_after_the_first_epoch() -> None:
    traced = []

    class Traced(keras.layers.Layer):  # type: ignore[misc]
        """Count how often Python builds the graph."""

        def call(self, inputs: Any) -> Any:
            traced.append(1)
            return inputs

    model = conv_model("adam", inner=(Traced(),))
    traced.clear()
    fit(model, rows(37), rows(11), **RUN | {"epochs": 3})
    assert len(traced) == 2  # one training step, one test step


def test_an_error_in_the_source_is_raised() -> None:
    class Broken(type(rows())):  # type: ignore[misc]
        def stream(self, batches: Any) -> Any:
            raise OSError("the disk is gone")

    train = rows()
    with pytest.raises(OSError, match="the disk is gone"):
        fit(conv_model("adam"), Broken(train.all_images, train.all_labels), **RUN)


def test_two_items_are_prefetched_before_they_are_requested() -> None:
    made: list[int] = []
    third_made = threading.Event()

    def items() -> Any:
        for number in range(9):
            made.append(number)
            if number == 2:
                third_made.set()
            yield number

    feed = prefetched(items())
    assert next(feed) == 0
    assert third_made.wait(10)
    assert made == [0, 1, 2]
    assert list(feed) == list(range(1, 9))


def test_auroc_and_accuracy_of_a_record_are_those_of_all_scores() -> None:
    train, validation = rows(37), rows(11)
    model = conv_model(keras.optimizers.SGD(0.0))
    (record,) = fit(model, train, validation, **RUN | {"epochs": 1})
    for prefix, data in (("", train), ("val_", validation)):
        scores = model.predict(data.all_images, verbose=0)[:, 0]
        pairs = [
            (0.5 if high == low else float(high > low))
            for high in scores[data.all_labels == 1]
            for low in scores[data.all_labels == 0]
        ]
        assert record[f"{prefix}auroc"] == pytest.approx(np.mean(pairs), abs=1e-12)
        assert record[f"{prefix}accuracy"] == np.mean((scores > 0.5) == data.all_labels)


def test_auroc_of_a_single_class_is_not_a_number() -> None:
    validation = rows(11)
    validation.all_labels[:] = 1
    (record,) = fit(conv_model("adam"), rows(37), validation, **RUN | {"epochs": 1})
    assert math.isnan(record["val_auroc"])
    assert not math.isnan(record["auroc"])


def test_a_score_of_one_half_predicts_the_negative_class() -> None:
    model = conv_model(keras.optimizers.SGD(0.0))
    # every logit is 0, every score 0.5
    model.set_weights([np.zeros_like(weights) for weights in model.get_weights()])
    train = rows(37)
    (record,) = fit(model, train, **RUN | {"epochs": 1})
    assert record["accuracy"] == np.mean(train.all_labels == 0)
    assert record["auroc"] == 0.5
