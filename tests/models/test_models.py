"""Architectures: built, described, named and scored; and users' own models."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cnnjobs import models
from cnnjobs.errors import InputError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle
from cnnjobs.models.layer_names import with_reset_names
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


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[bytes]":
    """A process that starts Keras for a user with another backend configured; its output."""
    home = tmp_path_factory.mktemp("home")
    (home / "keras.json").write_text('{"backend": "torch"}')
    program = (
        "import os, sys; from cnnjobs.models import keras_backend\n"
        "with keras_backend._without_startup_lines():\n"
        "    os.write(2, b'kept\\n')\n"
        "keras = keras_backend.import_keras()\n"
        "keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "print(keras.backend.backend())"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(home)},
        capture_output=True,
        check=True,
    )


def test_keras_runs_on_tensorflow_even_if_another_backend_is_configured(started):
    assert started.stdout == b"tensorflow\n"


def test_tensorflow_starts_silently_and_other_lines_are_kept(started):
    assert started.stderr == b"kept\n"


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


def test_names_are_looked_up_without_keras_and_without_running_a_users_file(tmp_path):
    file = _file(tmp_path, 'raise SystemExit("ran")\ndef net(num_labels): ...\n')
    program = (
        "import sys; from cnnjobs import models; models.portable(sys.argv[1]); "
        "models.find('densenet121'); print('keras' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, f"{file}:net"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"


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


def test_a_model_that_takes_no_weights_refuses_them(tmp_path):
    file = _file(tmp_path, _GOOD)
    for name, shown in (("covid", "covid"), (f"{file}:net", "own.py:net")):
        with pytest.raises(InputError) as caught:
            models.build(name, 2, weights="imagenet")
        assert str(caught.value) == (
            f"model {shown} takes no weights, got 'imagenet'; "
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


def test_a_users_model_is_found_first_and_described_by_building_it(tmp_path):
    file = _file(tmp_path, _GOOD)
    found = models.find(f"{file}:net")
    assert (found.name, found.is_described) == ("own.py:net", False)
    described = models.describe(f"{file}:net", 3)
    assert (described.height, described.width, described.num_labels) == (12, 12, 3)
    assert described.num_parameters == 20 + 2 * 3 + 3
    assert described.name == found.name
    assert described.is_described


def test_a_users_model_is_built_without_its_file(tmp_path):
    file = _file(tmp_path, _GOOD)
    sent = pickle.dumps(models.portable(f"{file}:net"))
    file.unlink()
    arrived = pickle.loads(sent)
    assert models.build(arrived, 2).output_shape == (None, 1)
    assert models.describe(arrived, 2).name == "own.py:net"
    assert models.portable("covid") == "covid"


def test_the_layer_names_of_a_users_model_do_not_depend_on_earlier_models(tmp_path):
    file = _file(tmp_path, _GOOD)
    first = models.build(f"{file}:net", 2)
    assert models.build(f"{file}:net", 2).get_config() == first.get_config()
    assert [layer.name for layer in first.layers] == [
        "rescaling",
        "conv2d",
        "global_average_pooling2d",
        "scores",
    ]


def test_layer_names_are_reset_in_nested_models():
    keras = models.import_keras()

    def made():
        pixels = keras.Input((4, 4, 1))
        inner = keras.Sequential([keras.layers.Conv2D(2, 1), keras.layers.Conv2D(2, 1)])
        values = keras.ops.relu(inner(pixels) + 3) + keras.ops.relu(keras.layers.ReLU()(pixels))
        flat = keras.layers.Flatten()(values)
        return keras.Model(pixels, keras.layers.Dense(1, "relu", name="conv2d_last")(flat))

    first, second = made(), made()
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)
    renamed = with_reset_names(second)
    np.testing.assert_array_equal(_scores(renamed, images), _scores(second, images))
    assert renamed.get_config() == with_reset_names(first).get_config() != second.get_config()


def test_a_users_model_trains_and_its_bundle_loads(tmp_path):
    keras = models.import_keras()
    from cnnjobs.training.distributed.loop import fit
    from tests.training.distributed.small_models import rows

    model = models.build(f"{_file(tmp_path, _GOOD)}:net", 2)
    before = model.get_weights()
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    (epoch,) = fit(model, rows(), epochs=1, global_batch_size=8, seed=0)
    assert np.isfinite(epoch["loss"])
    assert not np.array_equal(model.get_weights()[-1], before[-1])
    columns = {name: ["a"] for name in ("path", "content_hash", "group", "split")}
    written = bundle.write(
        str(tmp_path / "bundle"),
        model,
        architecture="own.py:net",
        labels=["no", "yes"],
        positive="yes",
        preprocessing=Preprocessing(height=12, width=12),
        images=pa.table(columns),
        manifest_fingerprint="0" * 16,
        metrics={},
        versions={},
    )
    loaded = bundle.load_model(bundle.read(written.uri))
    images = rows().all_images
    np.testing.assert_array_equal(_scores(loaded, images), _scores(model, images))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}/none.py:net", "there is no file {}/none.py; name your own model as "),
        ("{}/own.py:nett", "there is no function 'nett' in {}/own.py; did you mean net?"),
        ("{}/own.py:vgg", "there is no function 'vgg' in {}/own.py; it has net."),
        ("{}/own.py", "there is no function '' in {}/own.py; it has net."),
        ("{}/own.py:", "there is no function '' in {}/own.py; it has net."),
        ("{}/empty.py:net", "there is no function 'net' in {}/empty.py; it has none."),
        ("{}/broken.py:net", "{}/broken.py is not Python: '(' was never closed, line 2."),
        ("{}/nul.py:net", "{}/nul.py is not Python: source code string cannot contain null "),
        ("{}/folder.py:net", "{}/folder.py cannot be read as Python ("),
        ("{}/latin.py:net", "{}/latin.py cannot be read as Python ('utf-8' codec "),
    ],
)
def test_a_users_file_is_checked_before_it_is_run(name, message, tmp_path):
    _file(tmp_path, _GOOD)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("def net(num_labels):\n    print(")
    (tmp_path / "nul.py").write_bytes(b"def net(): ...\0")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9")
    (tmp_path / "folder.py").mkdir()
    for check in (models.find, models.portable, lambda name: models.build(name, 2)):
        with pytest.raises(InputError) as caught:
            check(name.format(tmp_path))
        assert str(caught.value).startswith(message.format(tmp_path))
        assert "\n" not in str(caught.value)


_LAST = "keras.layers.Dense(1, activation='sigmoid')"
_SAFE = "own.py:net cannot be loaded in Keras' safe mode ({}); use only Keras' own layers, "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "own.py:net must return a keras.Model, got int."),
        (
            f"return keras.Sequential([{_LAST}])",
            "own.py:net must have one input, (N, height, width, 1) uint8, got none; start it with "
            "keras.Input((height, width, 1), dtype='uint8').",
        ),
        (
            "return model((12, 12, 3), 'uint8', flat, last)",
            "own.py:net must have one input, (N, height, width, 1) uint8, got (N, 12, 12, 3) uint8",
        ),
        (
            "return model((12, 12, 1), 'float32', flat, last)",
            "own.py:net must have one input, (N, height, width, 1) uint8, "
            "got (N, 12, 12, 1) float32;",
        ),
        (
            "return model((None, None, 1), 'uint8', means, last)",
            "own.py:net must have one input, (N, height, width, 1) uint8, "
            "got (N, None, None, 1) uint8;",
        ),
        (
            "return model((144,), 'uint8', last)",
            "own.py:net must have one input, (N, height, width, 1) uint8, got (N, 144) uint8;",
        ),
        (
            "return model((12, 12, 1), 'uint8', flat, layers.Dense(2, activation='softmax'))",
            "own.py:net must return (N, 1) for 2 labels, got (N, 2); "
            "end it with Dense(1, activation='sigmoid').",
        ),
        (
            "return model((12, 12, 1), 'uint8', last)",
            "own.py:net must return (N, 1) for 2 labels, got (N, 12, 12, 1);",
        ),
        (
            "return model((12, 12, 1), 'uint8', flat, layers.Dense(1, bias_initializer='ones'))",
            "own.py:net must return probabilities, got scores from ",
        ),
        (
            "return model((12, 12, 1), 'uint8', layers.Lambda(lambda x: x / 255), flat, last)",
            _SAFE.format(
                "Requested the deserialization of a `Lambda` layer whose `function` "
                "is a Python lambda"
            ),
        ),
        (
            "return model((12, 12, 1), 'uint8', Twice(), flat, last)",
            _SAFE.format("Could not locate class 'Twice'"),
        ),
        (
            "keras.saving.register_keras_serializable('own')(Twice)\n"
            "    return model((12, 12, 1), 'uint8', Twice(), flat, last)",
            _SAFE.format("Could not locate class 'Twice'"),
        ),
    ],
)
def test_a_users_model_that_does_not_fit_is_refused_before_training(body, message, tmp_path):
    file = _file(tmp_path, _PARTS + f"\ndef net(num_labels):\n    {body}\n")
    with pytest.raises(InputError) as caught:
        models.build(f"{file}:net", 2)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_more_than_two_labels_need_a_softmax_in_a_users_model(tmp_path):
    file = _file(tmp_path, _GOOD.replace("softmax", "sigmoid"))
    with pytest.raises(InputError) as caught:
        models.build(f"{file}:net", 3)
    assert str(caught.value).startswith("own.py:net must return probabilities, got scores from 0.")
    assert str(caught.value).endswith("; end it with Dense(3, activation='softmax').")


def test_errors_in_a_users_code_are_raised_unchanged(tmp_path):
    file = _file(tmp_path, "def net(num_labels):\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        models.build(f"{file}:net", 2)
    assert str(caught.traceback[-1].path) == str(file)


_OTHER_WEIGHTS = (
    "{} does not contain the weights of mobilenetv3small; use a file that save_weights of "
    "Keras' model without top (include_top=False) has written, named *.weights.h5."
)

_GOOD = """
from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers


@dataclass
class Sizes:
    filters: int = 2


def net(num_labels):
    outputs, activation = (1, "sigmoid") if num_labels == 2 else (num_labels, "softmax")
    return keras.Sequential(
        [
            keras.Input((12, 12, 1), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(Sizes().filters, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(outputs, activation=activation, name="scores"),
        ]
    )
"""

_PARTS = """
import keras
from keras import layers


class Twice(layers.Layer):
    def call(self, x):
        return x * 2


flat, last = layers.Flatten(), layers.Dense(1, activation="sigmoid")
means = layers.GlobalAveragePooling2D()


def model(shape, dtype, *parts):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
"""


def _file(folder, source):
    (folder / "own.py").write_text(source)
    return folder / "own.py"


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


def test_tensorflow_still_logs_while_it_starts():
    # once this fails, tensorflow#100442 is fixed and `keras_backend._without_startup_lines` can go
    ended = subprocess.run(
        [sys.executable, "-c", "import tensorflow"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        check=True,
    )
    assert b"absl::InitializeLog" in ended.stderr
