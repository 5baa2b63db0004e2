"""Architectures: their table, the models that are built, and the weights of backbones."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cnnjobs import models
from cnnjobs.errors import InputError
from tests.support.paths import ROOT

SHEETS = ("covid", "covid-gap", "digits")
BACKBONES = ("mobilenetv3small", "efficientnetv2b0", "densenet121")
KNOWN = "known: covid, covid-gap, digits, mobilenetv3small, efficientnetv2b0, densenet121"


def test_the_table_has_the_models_of_the_lab_sheet():
    known = {name: known.num_parameters for name, known in models.ARCHITECTURES.items()}
    assert known.items() >= {"covid": 14_838_529, "digits": 225_034}.items()


@pytest.fixture(scope="module")
def backbones():
    """Each backbone for two labels, built once."""
    return {name: models.build(name, 2) for name in BACKBONES}


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_the_table_has_the_sizes_of_the_built_models(name, backbones):
    known = models.ARCHITECTURES[name]
    assert known.is_described
    model = backbones[name] if name in BACKBONES else models.build(name, known.num_labels)
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
            "resnet50",
            f"there is no model 'resnet50'; {KNOWN}, or file.py:function for your own.",
        ),
        ("", f"there is no model ''; {KNOWN}, or file.py:function for your own."),
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


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_scores_gray_images_and_loads_in_safe_mode(name, backbones, tmp_path):
    model = backbones[name]
    images = _noise(2, 224)
    scores = _scores(model, images)
    assert scores.shape == (2, 1)
    assert np.all((scores > 0) & (scores < 1))
    model.save(tmp_path / "model.keras")
    loaded = models.import_keras().saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(_scores(loaded, images), scores)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_scores_like_keras_own_with_keras_own_preprocessing(name, backbones):
    keras = models.import_keras()
    makers = keras.applications
    make = {
        "mobilenetv3small": makers.MobileNetV3Small,
        "efficientnetv2b0": makers.EfficientNetV2B0,
        "densenet121": makers.DenseNet121,
    }[name]
    prepare = {
        "mobilenetv3small": makers.mobilenet_v3.preprocess_input,
        "efficientnetv2b0": makers.efficientnet_v2.preprocess_input,
        "densenet121": makers.densenet.preprocess_input,
    }[name]
    model = backbones[name]
    theirs = make(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg")
    theirs.set_weights(model.get_weights()[:-2])
    images = _noise(2, 224)
    colors = prepare(np.repeat(images, 3, axis=3).astype(np.float32))
    kernel, bias = model.get_weights()[-2:]
    by_hand = 1 / (1 + np.exp(-(np.asarray(theirs(colors, training=False)) @ kernel + bias)))
    np.testing.assert_allclose(_scores(model, images), by_hand, rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenetv3small", "efficientnetv2b0"])
def test_the_layer_names_of_a_backbone_do_not_depend_on_earlier_models(name, backbones):
    keras = models.import_keras()
    keras.Sequential([keras.layers.ReLU(), keras.layers.Rescaling(2), keras.layers.Add()])
    again = models.build(name, 2)
    assert again.get_config() == backbones[name].get_config()


def test_the_random_weights_of_a_backbone_depend_on_the_seed():
    keras = models.import_keras()
    keras.utils.set_random_seed(1)
    first = models.build("mobilenetv3small", 2).get_weights()
    keras.utils.set_random_seed(1)
    for ours, theirs in zip(models.build("mobilenetv3small", 2).get_weights(), first, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["mobilenetv3small", "densenet121"])
def test_a_backbone_loads_the_weights_of_keras_own_model_without_top(name, tmp_path):
    makers = models.import_keras().applications
    make = {"mobilenetv3small": makers.MobileNetV3Small, "densenet121": makers.DenseNet121}[name]
    theirs = make(include_top=False, weights=None)
    theirs.save_weights(tmp_path / "keras.weights.h5")
    ours = models.build(name, 2, weights=str(tmp_path / "keras.weights.h5"))
    for weight, other in zip(ours.get_weights()[:-2], theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_weights_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    models.build("digits", 2).save_weights(tmp_path / "digits.weights.h5")
    (tmp_path / "text.weights.h5").write_text("not weights")
    for name, message in {
        "none.weights.h5": "there is no weights file {}; use a .weights.h5 file, or imagenet.",
        "digits.weights.h5": _OTHER_WEIGHTS,
        "text.weights.h5": _OTHER_WEIGHTS,
    }.items():
        weights = str(tmp_path / name)
        with pytest.raises(InputError) as caught:
            models.build("mobilenetv3small", 2, weights=weights)
        assert str(caught.value) == message.format(weights)


def test_a_model_that_takes_no_weights_refuses_them():
    with pytest.raises(InputError) as caught:
        models.build("covid", 2, weights="imagenet")
    assert str(caught.value) == (
        "model covid takes no weights, got 'imagenet'; "
        "models that do: mobilenetv3small, efficientnetv2b0, densenet121."
    )


def test_imagenet_weights_without_network_and_cache_are_an_input_error(tmp_path):
    program = (
        "from cnnjobs import errors, models\n"
        "try: models.build('mobilenetv3small', 2, weights='imagenet')\n"
        "except errors.InputError as error: print(error)"
    )
    nowhere = "http://127.0.0.1:9"
    built = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "https_proxy": nowhere, "KERAS_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *_, message = built.stdout.splitlines()
    assert message.startswith(
        "the imagenet weights of mobilenetv3small are not in Keras' cache and cannot be downloaded "
        "(URL fetch failure on https://"
    )
    assert message.endswith(
        f"); put that file into {tmp_path}/models, or use another weights file, or none."
    )


def test_describing_a_model_finds_its_sizes_for_that_many_labels():
    assert models.describe("digits", 10) == models.ARCHITECTURES["digits"]
    assert models.describe("digits", 2).num_parameters == 225_034 - 9 * 129


_OTHER_WEIGHTS = (
    "{} does not contain the weights of mobilenetv3small; use a file that save_weights of "
    "Keras' model without top (include_top=False) has written, named *.weights.h5."
)


def _noise(number, size=28):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, size, size, 1), dtype=np.uint8)


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
