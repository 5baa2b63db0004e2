import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cnnjobs import models
from cnnjobs.errors import InputError


def test_the_registry_holds_the_lab_sheets_models():
    known = {name: known.num_parameters for name, known in models.ARCHITECTURES.items()}
    assert known == {"covid": 14_838_529, "digits": 225_034}


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_the_registry_says_what_keras_counts(name):
    known = models.ARCHITECTURES[name]
    model = models.build(name, known.num_labels)
    assert known.name == name
    assert model.count_params() == known.num_parameters
    assert model.input_shape == (None, known.height, known.width, 1)
    assert model.inputs[0].dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "num_labels", "outputs"),
    [("covid", 2, 1), ("covid", 3, 3), ("digits", 2, 1), ("digits", 10, 10)],
)
def test_two_labels_give_one_probability_and_more_give_one_each(name, num_labels, outputs):
    assert models.build(name, num_labels).output_shape == (None, outputs)


def test_probabilities_of_more_than_two_labels_sum_to_1():
    scores = _scores(models.build("digits", 3), _noise(4))
    assert scores.shape == (4, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_the_probability_of_two_labels_is_between_0_and_1():
    scores = _scores(models.build("digits", 2), _noise(4))
    assert scores.shape == (4, 1)
    assert np.all((scores > 0) & (scores < 1))


@pytest.mark.parametrize("num_labels", [2, 10])
def test_a_forward_pass_by_hand_that_scales_once_gives_the_same_scores(num_labels):
    model = models.build("digits", num_labels)
    black, white = np.zeros((1, 28, 28, 1), np.uint8), np.full((1, 28, 28, 1), 255, np.uint8)
    batch = np.concatenate([black, white, _noise(2)])
    by_hand = _forward(batch / 255, model.get_weights())
    np.testing.assert_allclose(_scores(model, batch), by_hand, rtol=1e-4, atol=1e-6)
    # scaled twice or not at all, the same weights say something else
    for scale in (1, 255**2):
        assert np.abs(_forward(batch / scale, model.get_weights()) - by_hand).max() > 1e-3


def test_the_first_layer_scales_pixels_to_0_and_1():
    for name in models.ARCHITECTURES:
        scaling = models.build(name, 2).layers[0]
        scaled = np.asarray(scaling(np.array([[[[0], [51], [255]]]], np.uint8)))
        np.testing.assert_allclose(scaled.ravel(), [0, 0.2, 1], rtol=1e-6)
        assert scaled.dtype == np.float32


def test_keras_runs_on_tensorflow_whatever_the_user_has_chosen(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    program = "from cnnjobs import models; print(models.import_keras().backend.backend())"
    backend = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert backend.stdout == "tensorflow\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("covd", "there is no model 'covd'; did you mean covid?"),
        ("Digits", "there is no model 'Digits'; did you mean digits?"),
        ("resnet50", "there is no model 'resnet50'; known: covid, digits."),
        ("", "there is no model ''; known: covid, digits."),
    ],
)
def test_an_unknown_model_names_the_nearest_or_all(name, message):
    for find in (models.find, lambda name: models.build(name, 2)):
        with pytest.raises(InputError) as caught:
            find(name)
        assert str(caught.value) == message


def _noise(number):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 28, 28, 1), dtype=np.uint8)


def _scores(model, images):
    return np.asarray(model(images, training=False))


def _forward(images, weights):
    """Score (N, 28, 28, 1) scaled images with the `digits` weights, in float64 without Keras."""
    values = images.astype(np.float64)
    for kernel, bias in (weights[0:2], weights[2:4]):
        windows = sliding_window_view(values, kernel.shape[:2], axis=(1, 2))
        values = np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True) + bias
        values = np.maximum(values, 0)
        n, height, width, channels = values.shape
        pooled = values[:, : height // 2 * 2, : width // 2 * 2]
        values = pooled.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    hidden = np.maximum(values.reshape(len(values), -1) @ weights[4] + weights[5], 0)
    out = hidden @ weights[6] + weights[7]
    if out.shape[1] == 1:
        return 1 / (1 + np.exp(-out))
    powers = np.exp(out - out.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
