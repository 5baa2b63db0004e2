"""Grad-CAM on models whose evidence has a known position."""

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
    """Averages everything brighter than mid-gray, so the evidence is wherever that is."""
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


@pytest.mark.parametrize("nested", ["", "spatial", "with a mean"])
def test_the_heat_is_where_the_patch_is(nested: str) -> None:
    heat = grad_cam.heat(grad_cam.prepare(_bright_patch_detector(nested=nested)), _patch())

    assert heat.shape == (64, 96)
    assert heat.max() == pytest.approx(1)
    assert heat[12:24, 62:78].min() > 0.9
    heat[8:28, 58:82] = 0
    assert heat.max() == 0


def test_frozen_layers_do_not_block_gradients() -> None:
    model = _bright_patch_detector()
    model.trainable = False

    assert grad_cam.heat(grad_cam.prepare(model), _patch())[12:24, 62:78].min() > 0.9


def test_the_patch_is_evidence_for_the_positive_class_and_not_for_the_negative_one() -> None:
    prepared = grad_cam.prepare(_bright_patch_detector())

    assert grad_cam.heat(prepared, _patch(), target=1).max() == pytest.approx(1)
    assert grad_cam.heat(prepared, _patch(), target=0).max() == 0


@pytest.mark.parametrize("name", ["covid-gap", "digits", "mobilenetv3small"])
def test_every_kind_of_architecture_has_heat_and_keeps_its_scores(name: str) -> None:
    known = models.find(name)
    model = models.build(name, known.num_labels)
    pixels = np.random.default_rng(0).integers(0, 256, (known.height, known.width, 1), np.uint8)
    before = np.asarray(model(pixels[np.newaxis], training=False))

    prepared = grad_cam.prepare(model)
    heats = [grad_cam.heat(prepared, pixels, target=target) for target in range(known.num_labels)]

    assert all(heat.shape == pixels.shape[:2] and heat.dtype == np.float32 for heat in heats)
    assert max(heat.max() for heat in heats) == pytest.approx(1)
    assert (np.asarray(model(pixels[np.newaxis], training=False)) == before).all()
    _, logits = prepared.model(pixels[np.newaxis], training=False)
    activation = keras.ops.sigmoid if known.num_labels == 2 else keras.ops.softmax
    assert np.asarray(activation(logits)) == pytest.approx(before, abs=1e-5)


def test_a_model_without_a_spatial_layer_is_refused() -> None:
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(flat), name="flat")

    with pytest.raises(InputError, match=r"^flat has no spatial layer to explain; explain takes"):
        grad_cam.prepare(model)


def test_the_overlay_is_gray_where_the_heat_is_zero() -> None:
    gray = np.full((40, 60), 90, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:2, :2] = 1

    shown = grad_cam.overlay(gray, heat)

    assert (shown.shape, shown.dtype) == ((40, 60, 3), np.uint8)
    assert (shown[30:, 30:] == 90).all()
    assert shown[0, 0, 0] > shown[0, 0, 2]
