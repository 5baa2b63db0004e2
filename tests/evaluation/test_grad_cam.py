"""Grad-CAM on models of which it is known where they look."""

from typing import Any

import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.errors import InputError
from cnnjobs.evaluation import grad_cam
from cnnjobs.models import import_keras

keras = import_keras()
layers = keras.layers


def _bright_patch_detector(*, nested: str = "") -> Any:
    """The mean of what is brighter than half; the answer is where that is."""
    inputs = keras.Input((64, 96, 1), dtype="uint8")
    scaled = layers.Rescaling(1 / 255)(inputs)
    convolution = layers.Conv2D(
        1, 3, padding="same", activation="relu", bias_initializer=keras.initializers.Constant(-0.5)
    )
    mean = layers.GlobalAveragePooling2D()
    inner = keras.Input((64, 96, 1))
    if nested == "with a mean":
        features = keras.Model(inner, mean(convolution(inner)))(scaled)
    elif nested:
        features = mean(keras.Model(inner, convolution(inner))(scaled))
    else:
        features = mean(convolution(scaled))
    dense = layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(features))
    convolution.kernel.assign(np.full((3, 3, 1, 1), 1 / 9))
    dense.kernel.assign([[100.0]])
    return model


def _patch() -> np.ndarray:
    pixels = np.full((64, 96, 1), 40, np.uint8)
    pixels[10:26, 60:80] = 240
    return pixels


@pytest.mark.parametrize("nested", ["", "places", "with a mean"])
def test_the_heat_is_where_the_patch_is(nested: str) -> None:
    heat = grad_cam.heat(_bright_patch_detector(nested=nested), _patch())

    assert heat.shape == (64, 96)
    assert heat.max() == pytest.approx(1)
    assert heat[12:24, 62:78].min() > 0.9
    heat[8:28, 58:82] = 0
    assert heat.max() == 0


def test_frozen_layers_are_seen_through() -> None:
    model = _bright_patch_detector()
    model.trainable = False

    assert grad_cam.heat(model, _patch())[12:24, 62:78].min() > 0.9


def test_the_patch_speaks_for_the_positive_class_and_not_for_the_other() -> None:
    model = _bright_patch_detector()

    assert grad_cam.heat(model, _patch(), towards=1).max() == pytest.approx(1)
    assert grad_cam.heat(model, _patch(), towards=0).max() == 0


@pytest.mark.parametrize("name", ["covid-gap", "digits", "mobilenetv3small"])
def test_every_kind_of_architecture_has_heat_and_the_same_scores_after(name: str) -> None:
    known = models.find(name)
    model = models.build(name, known.num_labels)
    pixels = np.random.default_rng(0).integers(0, 256, (known.height, known.width, 1), np.uint8)
    before = np.asarray(model(pixels[np.newaxis], training=False))

    watched = grad_cam.watched(model)
    heats = [grad_cam.heat_of(watched, pixels, towards=place) for place in range(known.num_labels)]

    assert all(heat.shape == pixels.shape[:2] and heat.dtype == np.float32 for heat in heats)
    assert max(heat.max() for heat in heats) == pytest.approx(1)
    assert (np.asarray(model(pixels[np.newaxis], training=False)) == before).all()
    _, logits = watched.model(pixels[np.newaxis], training=False)
    turned = keras.ops.sigmoid(logits) if known.num_labels == 2 else keras.ops.softmax(logits)
    assert np.asarray(turned) == pytest.approx(before, abs=1e-5)


def test_a_model_without_an_image_inside_is_refused() -> None:
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(flat), name="flat")

    with pytest.raises(InputError, match=r"^no layer of flat gives an image, so there is nowhere"):
        grad_cam.heat(model, np.zeros((8, 8, 1), np.uint8))


def test_the_overlay_is_gray_where_it_is_cold() -> None:
    gray = np.full((40, 60), 90, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:2, :2] = 1

    shown = grad_cam.overlay(gray, heat)

    assert (shown.shape, shown.dtype) == ((40, 60, 3), np.uint8)
    assert (shown[30:, 30:] == 90).all()
    assert shown[0, 0, 0] > shown[0, 0, 2]
