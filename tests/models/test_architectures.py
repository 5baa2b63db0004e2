"""Architectures: their table, and the models that are built."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cnnjobs import models
from cnnjobs.errors import InputError

SHEETS = ("covid", "covid-gap", "digits")
KNOWN = "`cnnjobs models` lists them, and your own is file.py:function."


def test_the_table_has_the_models_of_the_lab_sheet():
    known = {name: known.num_parameters for name, known in models.ARCHITECTURES.items()}
    assert known.items() >= {"covid": 14_838_529, "digits": 225_034}.items()


@pytest.mark.parametrize("name", SHEETS)
def test_the_table_has_the_sizes_of_the_built_models(name):
    known = models.ARCHITECTURES[name]
    assert known.is_described
    model = models.build(name, known.num_labels)
    assert known.name == name
    assert model.count_params() == known.num_parameters
    assert model.input_shape == (None, known.height, known.width, 1)
    assert model.inputs[0].dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "num_labels", "outputs"),
    [("covid", 2, 1), ("covid-gap", 3, 3), ("digits", 2, 1), ("mobilenetv3small", 3, 3)],
)
def test_two_labels_have_one_probability_and_more_labels_one_each(name, num_labels, outputs):
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
def test_scores_equal_a_forward_pass_in_numpy_that_scales_pixels_once(num_labels):
    model = models.build("digits", num_labels)
    black, white = np.zeros((1, 28, 28, 1), np.uint8), np.full((1, 28, 28, 1), 255, np.uint8)
    batch = np.concatenate([black, white, _noise(2)])
    by_hand = _forward(batch / 255, model.get_weights())
    np.testing.assert_allclose(_scores(model, batch), by_hand, rtol=1e-4, atol=1e-6)
    # with pixels scaled twice or not at all, the same weights give different scores
    for scale in (1, 255**2):
        assert np.abs(_forward(batch / scale, model.get_weights()) - by_hand).max() > 1e-3


def test_the_first_layer_scales_pixels_to_0_and_1():
    for name in SHEETS:
        scaling = models.build(name, 2).layers[0]
        scaled = np.asarray(scaling(np.array([[[[0], [51], [255]]]], np.uint8)))
        np.testing.assert_allclose(scaled.ravel(), [0, 0.2, 1], rtol=1e-6)
        assert scaled.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("covd", "there is no model 'covd'; did you mean covid?"),
        ("Digits", "there is no model 'Digits'; did you mean digits?"),
        ("covidgap", "there is no model 'covidgap'; did you mean covid-gap?"),
        (
            "transformer",
            f"there is no model 'transformer'; {KNOWN}",
        ),
        ("", f"there is no model ''; {KNOWN}"),
    ],
)
def test_the_error_for_an_unknown_model_suggests_the_nearest_or_lists_all(name, message):
    for find in (models.find, lambda name: models.build(name, 2)):
        with pytest.raises(InputError) as caught:
            find(name)
        assert str(caught.value) == message


def test_covid_gap_differs_from_covid_only_in_the_step_to_a_vector():
    ours, sheets = ([layer.name for layer in models.build(n, 2).layers] for n in SHEETS[1::-1])
    assert [name if name != "average" else "flatten" for name in ours] == sheets


def test_a_model_that_takes_no_weights_refuses_them():
    with pytest.raises(InputError) as caught:
        models.build("covid", 2, weights="imagenet")
    assert str(caught.value) == (
        "model covid takes no weights, got 'imagenet'; the backbones of `cnnjobs models` do."
    )


def test_describing_a_model_finds_its_sizes_for_that_many_labels():
    assert models.describe("digits", 10) == models.ARCHITECTURES["digits"]
    assert models.describe("digits", 2).num_parameters == 225_034 - 9 * 129


def _noise(number):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 28, 28, 1), dtype=np.uint8)


def _scores(model, images):
    return np.asarray(model(images, training=False))


def _forward(images, weights):
    """Score (N, 28, 28, 1) scaled images with the `digits` weights, in float64, without Keras."""
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
