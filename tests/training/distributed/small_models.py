"""A data set of 37 small images, and models that learn it in a second."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from cnnjobs.training.distributed.batches import InMemory
from cnnjobs.training.distributed.sharding import epoch_order

NUM_ROWS = 37
GLOBAL_BATCH_SIZE = 8
SEED = 3


def rows(num_rows: int = NUM_ROWS, num_classes: int = 2) -> InMemory:
    """Return images of noise, brighter in higher classes."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num_rows)
    noise = generator.integers(0, 195, (num_rows, 12, 12, 1))
    return InMemory((noise + 30 * labels[:, None, None, None]).astype(np.uint8), labels)


def conv_model(
    optimizer: Any,
    *,
    inner: tuple[Any, ...] = (),
    num_outputs: int = 1,
    width: int = 8,
    weights_seed: int = 1,
    **compile_args: Any,
) -> Any:
    """Return a compiled model with one convolution, followed by the layers `inner`."""
    keras.utils.set_random_seed(weights_seed)
    activation = "sigmoid" if num_outputs == 1 else "softmax"
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3),
            *inner,
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(width, activation="relu", kernel_regularizer="l2"),
            keras.layers.Dense(num_outputs, activation=activation),
        ]
    )
    loss = "binary_crossentropy" if num_outputs == 1 else "sparse_categorical_crossentropy"
    model.compile(optimizer=optimizer, loss=loss, **compile_args)
    return model


def keras_fit(model: Any, train: InMemory, validation: InMemory, epochs: int, **args: Any) -> Any:
    """Train with Keras' own `fit`, in our order of rows; return its logs, one dict per epoch."""
    logs = []
    for epoch in range(epochs):
        order = epoch_order(len(train), seed=SEED, epoch=epoch)
        history = model.fit(
            train.all_images[order],
            train.all_labels[order],
            batch_size=GLOBAL_BATCH_SIZE,
            shuffle=False,
            verbose=0,
            validation_data=(validation.all_images, validation.all_labels),
            **args,
        )
        logs.append({name: values[0] for name, values in history.history.items()})
    return logs


def largest_difference(these: list[npt.NDArray[Any]], those: list[npt.NDArray[Any]]) -> float:
    """Return the largest difference between two lists of weights."""
    differences = [float(np.abs(a - b).max()) for a, b in zip(these, those, strict=True)]
    return max(differences, default=0.0)
