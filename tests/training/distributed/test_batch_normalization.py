"""Batch normalization in the loop: Keras' own, but without padding and over all workers."""

from typing import Any

import keras
import numpy as np
import pytest

from cnnjobs.errors import TrainingError
from cnnjobs.training.distributed.batch_normalization import synchronized
from cnnjobs.training.distributed.loop import fit
from tests.training.distributed.small_models import (
    GLOBAL_BATCH_SIZE,
    SEED,
    conv_model,
    keras_fit,
    largest_difference,
    rows,
)

RUN: dict[str, Any] = {"epochs": 2, "global_batch_size": GLOBAL_BATCH_SIZE, "seed": SEED}


def normalized_model(**settings: Any) -> Any:
    return conv_model("sgd", inner=(keras.layers.BatchNormalization(**settings),))


def for_training(model: Any, num_workers: int = 1) -> Any:
    trained = synchronized(model, num_workers)
    trained.compile("sgd", "binary_crossentropy")
    return trained


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"axis": 1},
        {"center": False, "scale": False, "momentum": 0.5, "epsilon": 0.1},
        {"synchronized": True},
        {"trainable": False},
        {"gamma_regularizer": "l2"},
    ],
    ids=str,
)
def test_short_batches_are_normalized_as_by_keras_fit_which_does_not_pad(
    settings: dict[str, Any],
) -> None:
    train, validation = rows(37), rows(11)
    ours, theirs = for_training(normalized_model(**settings)), normalized_model(**settings)
    history = fit(ours, train, validation, **RUN)
    logs = keras_fit(theirs, train, validation, epochs=2)
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6
    assert [{name: record[name] for name in logs[0]} for record in history] == [
        pytest.approx(log, rel=1e-5) for log in logs
    ]


def test_frozen_normalization_keeps_its_statistics() -> None:
    model = for_training(normalized_model(trainable=False))
    before = [weight.numpy() for weight in model.layers[2].weights]
    fit(model, rows(37), **RUN)
    assert largest_difference(before, [weight.numpy() for weight in model.layers[2].weights]) == 0


def test_statistics_are_in_float32_in_mixed_precision() -> None:
    # of values near 1000 with a deviation of 1, of which bfloat16 has every fourth
    train = rows(40)
    layer = keras.layers.BatchNormalization(momentum=0.0, dtype="mixed_bfloat16")
    inputs = keras.Input((12, 12, 1), dtype="uint8")
    shifted = keras.layers.Rescaling(1 / 50, offset=8.0)(inputs)
    scores = keras.layers.Dense(1, activation="sigmoid", dtype="float32")(
        keras.layers.GlobalAveragePooling2D()(layer(shifted))
    )
    model = for_training(keras.Model(inputs, scores))
    fit(model, train, **RUN | {"epochs": 1, "global_batch_size": 40})
    seen = train.all_images.astype(np.float32) / 50 + 8
    (moving_mean, moving_variance) = (
        weight.numpy().item() for weight in model.layers[2].non_trainable_weights
    )
    # Keras rounds what enters the layer; its statistics are exact
    assert moving_mean == pytest.approx(seen.mean(), rel=1e-3)
    assert moving_variance == pytest.approx(seen.var(), rel=1e-2)
    assert model.layers[2].moving_mean.dtype == "float32"


def nested_model() -> Any:
    """Normalization in a model in a model, twice by one layer, and frozen."""
    shared = keras.layers.BatchNormalization(name="shared")
    pixels = keras.Input((8, 8, 1), dtype="uint8")
    features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(pixels))
    features = shared(keras.layers.ReLU()(shared(features)))
    block = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            keras.layers.Conv2D(4, 3),
            keras.Sequential([keras.Input((4, 4, 4)), keras.layers.BatchNormalization()]),
            keras.layers.BatchNormalization(trainable=False),
        ]
    )
    pooled = keras.layers.GlobalAveragePooling2D()(block(features))
    return keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(pooled))


def test_every_layer_is_found_and_nothing_else_changes() -> None:
    model = nested_model()
    trained = for_training(model)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)

    assert described(trained) == described(model)
    assert np.array_equal(trained(images), model(images))
    fit(trained, rows_of(images), **RUN | {"epochs": 1})
    theirs = nested_model()
    theirs.set_weights(model.get_weights())
    theirs.compile("sgd", "binary_crossentropy")
    keras_fit(theirs, rows_of(images), rows_of(images), epochs=1)
    assert largest_difference(trained.get_weights(), theirs.get_weights()) < 1e-6


def described(model: Any) -> list[Any]:
    trainable = {id(weight) for weight in model.trainable_weights}
    return [(weight.name, weight.shape, id(weight) in trainable) for weight in model.weights]


def rows_of(images: Any) -> Any:
    return type(rows())(images, np.arange(len(images)) % 2)


def test_images_cut_into_several_rows_are_counted_by_image() -> None:
    def build() -> Any:
        keras.utils.set_random_seed(1)
        pixels = keras.Input((12, 12, 1), dtype="uint8")
        cut = keras.ops.reshape(keras.layers.Rescaling(1 / 255)(pixels), (-1, 12))
        normal = keras.ops.reshape(keras.layers.BatchNormalization()(cut), (-1, 144))
        model = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(normal))
        model.compile("sgd", "binary_crossentropy")
        return model

    ours, theirs = for_training(build()), build()
    fit(ours, rows(37), **RUN)
    keras_fit(theirs, rows(37), rows(11), epochs=2)
    assert largest_difference(ours.get_weights(), theirs.get_weights()) < 1e-6


def test_a_model_without_batch_normalization_is_returned_as_it_is() -> None:
    model = conv_model("sgd")
    assert synchronized(model, 2) is model


def test_renormalization_is_refused_on_several_workers_only() -> None:
    model = normalized_model(renorm=True)
    fit(for_training(model), rows(16), **RUN | {"epochs": 1})
    with pytest.raises(TrainingError) as refused:
        synchronized(model, 2)
    assert str(refused.value) == (
        f"{model.name} uses BatchNormalization(renorm=True), whose statistics several workers "
        "cannot share; leave out renorm, or train with one worker."
    )
