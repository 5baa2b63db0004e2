"""What `--deterministic` does in the process that trains, and that the same bits come out."""

from pathlib import Path

import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.models import bundle
from cnnjobs.training.train import train

#: The bias tells whether TensorFlow was told to be deterministic, where a tiny rate leaves it:
#: then it refuses to take a random state from the machine.
MODEL = """
import tensorflow as tf
from keras import Input, Sequential, initializers, layers

def probe(num_labels):
    try:
        tf.random.Generator.from_non_deterministic_state()
        is_on = 0.0
    except RuntimeError:
        is_on = 1.0
    return Sequential([
        Input((28, 28, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(1, bias_initializer=initializers.Constant(is_on), activation="sigmoid"),
    ])
"""


@pytest.mark.slow
def test_deterministic_reaches_tensorflow_and_gives_the_same_bits_again(
    ray_session: None, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(MODEL)

    def weights(name: str) -> list[bytes]:
        config = TrainConfig(
            data=str(archive),
            output=str(tmp_path / name),
            model=f"{tmp_path / 'model.py'}:probe",
            deterministic=True,
            learning_rate=1e-6,
            epochs=2,
            augment="strong",
            mixed_precision=True,
        )
        model = bundle.load_model(bundle.read(train(config).bundle))
        assert float(model.layers[-1].bias[0]) == pytest.approx(1.0, abs=0.1)
        return [array.tobytes() for array in model.get_weights()]

    assert weights("once") == weights("again")
