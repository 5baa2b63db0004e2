"""In 16 bits a model still learns from an answer that is certain and wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.models.mixed_precision import with_float32_scores
from cnnjobs.training.distributed import loop
from cnnjobs.training.distributed.batches import InMemory

USERS = """
import keras
from keras import layers

def sequential(num_labels):
    return keras.Sequential([
        keras.Input((12, 12, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(1 if num_labels == 2 else num_labels, name="last"),
        layers.Activation("sigmoid" if num_labels == 2 else "softmax"),
    ])

def functional(num_labels):
    pixels = keras.Input((12, 12, 1), dtype="uint8")
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(pixels))
    last = layers.Dense(
        1 if num_labels == 2 else num_labels,
        activation="sigmoid" if num_labels == 2 else "softmax",
        name="last",
    )
    return keras.Model(pixels, last(flat))
"""


@pytest.fixture
def in_16_bits() -> Iterator[None]:
    """The policy of `--mixed-precision` on a CPU."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def _last_dense(model: Any) -> Any:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]


@pytest.mark.parametrize("name", ["covid-gap", "digits", "sequential", "functional"])
@pytest.mark.parametrize("num_labels", [2, 3])
def test_a_certain_and_wrong_answer_has_a_gradient(
    in_16_bits: None, tmp_path: Path, name: str, num_labels: int
) -> None:
    (tmp_path / "own.py").write_text(USERS)
    known = name if name in models.ARCHITECTURES else f"{tmp_path / 'own.py'}:{name}"
    model = with_float32_scores(models.build(known, num_labels))
    assert model.outputs[0].dtype == "float32"
    last = _last_dense(model)
    certain = np.zeros(last.bias.shape, np.float32)
    certain[0] = 40.0
    last.bias.assign(certain)
    loss = "binary_crossentropy" if num_labels == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    height, width = model.input_shape[1:3]
    # of two labels the first output is the positive class
    labels = np.full(4, 0 if num_labels == 2 else 1)
    black = InMemory(np.zeros((4, height, width, 1), np.uint8), labels)

    (epoch,) = loop.fit(model, black, epochs=1, global_batch_size=4, seed=0)

    assert epoch["loss"] > 30
    assert last.bias.numpy()[0] < 39.5
