"""Every backbone of `keras.applications`: its size, its pixels, a step of training, its weights."""

import os
import subprocess
import sys

import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.errors import InputError
from cnnjobs.models.keras_applications import APPLICATIONS
from tests.support.paths import ROOT

#: The smallest of each family; those that take long are marked.
SMALLEST = (
    "mobilenetv3small",
    "efficientnetv2b0",
    "mobilenet",
    "vgg16",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("convnexttiny", "densenet121", "efficientnetb0", "inceptionresnetv2", "inceptionv3"),
            *("mobilenetv2", "nasnetmobile", "resnet50", "resnet50v2", "vgg19", "xception"),
        )
    ),
)
MEANS, DEVIATIONS = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_every_model_of_keras_applications_is_in_the_table():
    makers = models.import_keras().applications
    classes = {name.lower() for name in dir(makers) if name[0].isupper()}

    assert set(APPLICATIONS) == classes | {"xrv-densenet121"}
    assert set(models.ARCHITECTURES) == {*APPLICATIONS, "covid", "covid-gap", "digits"}


@pytest.mark.parametrize(
    "family",
    # that of torchxrayvision is compared in test_xrv.py
    dict.fromkeys(known.family for known in APPLICATIONS.values() if known.family.channels == 3),
    ids=lambda family: family.module,
)
def test_a_backbone_gets_the_pixels_of_keras_own_preprocessing(family):
    from cnnjobs.models import backbones

    keras = models.import_keras()
    images = _noise(2, 8)
    pixels = keras.Input((8, 8, 3), dtype="uint8")
    prepared = pixels
    for layer in backbones.preprocessing(family.pixels):
        prepared = layer(prepared)

    ours = keras.Model(pixels, prepared)(np.repeat(images, 3, axis=3))

    np.testing.assert_allclose(np.asarray(ours), _prepared(family, images), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_backbone_of_each_family_scores_as_keras_does_trains_a_step_and_loads_in_safe_mode(
    name, tmp_path
):
    keras = models.import_keras()
    model, side = _built(name)
    known = models.ARCHITECTURES[name]
    assert model.count_params() == known.num_parameters
    assert (known.height, known.min_side) == (APPLICATIONS[name].side, side)
    images = _noise(2, side)

    scores = _scores(model, images)

    theirs = getattr(keras.applications, APPLICATIONS[name].maker)(
        include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg"
    )
    *backbone, kernel, bias = model.get_weights()
    theirs.set_weights(backbone)
    prepared = _prepared(APPLICATIONS[name].family, images)
    features = np.asarray(theirs(prepared, training=False))
    by_hand = 1 / (1 + np.exp(-(features @ kernel + bias)))
    np.testing.assert_allclose(scores, by_hand, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(_scores(loaded, images), scores)
    first = np.array(model.trainable_weights[0])
    # compiling a graph takes longer than the step
    model.compile("adam", "binary_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images, np.array([[0], [1]])))
    assert not np.array_equal(model.trainable_weights[0], first)


@pytest.mark.slow
@pytest.mark.table
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_table_has_the_sizes_of_every_backbone(name):
    model, side = _built(name)

    assert model.count_params() == models.ARCHITECTURES[name].num_parameters
    assert model.input_shape == (None, side, side, 1)
    models.import_keras().backend.clear_session()


def test_images_that_are_too_small_are_refused():
    from cnnjobs.models import backbones

    for name, too_small in (("xception", "70x299"), ("vgg16", "31x32")):
        height, width = map(int, too_small.split("x"))
        least = APPLICATIONS[name].family.min_side
        with pytest.raises(InputError) as refused:
            backbones.build(name, height, width, 2, None)
        assert str(refused.value) == (
            f"{name} takes images of at least {least}x{least}, got {too_small}."
        )


@pytest.mark.parametrize("name", ["mobilenetv3small", "efficientnetb0"])
def test_the_layer_names_of_a_backbone_do_not_depend_on_earlier_models(name):
    keras = models.import_keras()
    first = models.build(name, 2)
    keras.Sequential([keras.layers.ReLU(), keras.layers.Rescaling(2), keras.layers.Add()])
    assert models.build(name, 2).get_config() == first.get_config()


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


def test_means_and_variances_in_the_weights_of_an_efficientnet_do_not_count(tmp_path):
    """Those of ImageNet, which only layers that Keras leaves out without them put right."""
    keras = models.import_keras()
    theirs = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    without = theirs.get_weights()
    (normalization,) = (
        layer for layer in theirs.layers if isinstance(layer, keras.layers.Normalization)
    )
    normalization.set_weights([MEANS, DEVIATIONS, np.array(0)])
    theirs.save_weights(tmp_path / "keras.weights.h5")
    ours, _ = _built("efficientnetb0", weights=str(tmp_path / "keras.weights.h5"))
    for weight, other in zip(ours.get_weights()[:-2], without, strict=True):
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


_OTHER_WEIGHTS = (
    "{} does not contain the weights of mobilenetv3small; use a file that save_weights of "
    "Keras' model without top (include_top=False) has written, named *.weights.h5."
)


def _built(name, weights=None):
    """A backbone for two labels and the smallest images, and their side."""
    models.import_keras()
    from cnnjobs.models import backbones

    side = APPLICATIONS[name].family.min_side
    return backbones.build(name, side, side, 2, weights), side


def _prepared(family, images):
    """Gray images as Keras' own preprocessing of the family gives them to the model."""
    prepare = getattr(models.import_keras().applications, family.module).preprocess_input
    colors = np.repeat(images, 3, axis=3).astype(np.float32)
    if family.module == "efficientnet":
        # what its layers compute only with Keras' weights of ImageNet
        return ((colors / 255 - MEANS) / DEVIATIONS * 255).astype(np.float32)
    # it changes its input
    return prepare(colors.copy())


def _noise(number, size):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, size, size, 1), dtype=np.uint8)


def _scores(model, images):
    return np.asarray(model(images, training=False))
