"""Users' own models: found, checked, built without their file, trained and stored in a bundle."""

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs import models
from cnnjobs.errors import InputError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle
from cnnjobs.models.layer_names import with_reset_names
from tests.support.paths import ROOT


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


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def net(num_labels):\n    return 1 / 0\n",
            "own.py:net cannot be built: division by zero (line 2).",
        ),
        (
            "def net():\n    return 1\n",
            "own.py:net cannot be built: net() takes 0 positional arguments but 1 was given; it "
            "is called with the number of labels.",
        ),
        (
            "import no_such_package\ndef net(num_labels): ...\n",
            "own.py:net cannot be built: No module named 'no_such_package' (line 1).",
        ),
        (
            "raise SystemExit(3)\ndef net(num_labels): ...\n",
            "own.py:net cannot be built: 3 (line 1).",
        ),
        (
            "def helper():\n    assert False\ndef net(num_labels):\n    helper()\n",
            "own.py:net cannot be built: AssertionError (line 2).",
        ),
    ],
)
def test_an_error_in_a_users_code_is_one_line_with_its_place(source, message, tmp_path):
    file = _file(tmp_path, source)
    with pytest.raises(InputError) as caught:
        models.build(f"{file}:net", 2)
    assert str(caught.value) == message
    # what --debug shows
    assert caught.value.__cause__ is not None


_ON_BYTES = (
    "own.py:net gives bytes to {}, which computes with floats; "
    "begin with layers.Rescaling(1 / 255)."
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("layers.Conv2D(2, 3), flat, last", _ON_BYTES.format("Conv2D")),
        ("layers.DepthwiseConv2D(3), flat, last", _ON_BYTES.format("DepthwiseConv2D")),
        ("layers.SeparableConv2D(2, 3), flat, last", _ON_BYTES.format("SeparableConv2D")),
        (
            "rescaled, layers.Conv2D(2, 13), flat, last",
            "own.py:net cannot be built: Computed output size would be zero or negative (line ",
        ),
        (
            "rescaled, layers.Dense(2, trainable=False), flat, "
            "layers.Dense(1, activation='sigmoid', trainable=False)",
            "own.py:net has no weights to train; leave at least its last layer trainable.",
        ),
        (
            "rescaled, means",
            "own.py:net has no weights to train; leave at least its last layer trainable.",
        ),
        (
            "rescaled, flat, last, layers.Activation('sigmoid', dtype='int32')",
            "own.py:net cannot score images: ",
        ),
        (
            "rescaled, flat, last, layers.Rescaling(1, dtype='int32')",
            "own.py:net cannot be trained: no weight has a gradient; leave out layers that round ",
        ),
        (
            "rescaled, flat, layers.Dense(1, kernel_initializer=keras.initializers.Constant("
            "float('nan')), activation='sigmoid')",
            "own.py:net must return probabilities, got scores from nan to nan; end it with ",
        ),
        (
            "rescaled, flat, layers.Dense(2), layers.Reshape((3,)), last",
            "own.py:net cannot be built: The total size of the tensor must be unchanged (line ",
        ),
    ],
)
def test_a_users_model_that_cannot_train_is_refused_before_training(parts, message, tmp_path):
    body = f"return model((12, 12, 1), 'uint8', {parts})"
    file = _file(tmp_path, _PARTS + f"\ndef net(num_labels):\n    {body}\n")
    with pytest.raises(InputError) as caught:
        models.build(f"{file}:net", 2)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)


def test_a_users_model_takes_no_weights(tmp_path):
    with pytest.raises(InputError, match=r"^model own\.py:net takes no weights, got 'imagenet'; "):
        models.build(f"{_file(tmp_path, _GOOD)}:net", 2, weights="imagenet")


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
rescaled = layers.Rescaling(1 / 255)


def model(shape, dtype, *parts):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
"""


def _file(folder, source):
    (folder / "own.py").write_text(source)
    return folder / "own.py"


def _scores(model, images):
    return np.asarray(model(images, training=False))
