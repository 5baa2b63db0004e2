"""Augmentation: seeded, only in training, and never a mirror image."""

import keras
import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.models.augmentation import STRENGTHS, augmented
from cnnjobs.training.distributed.loop import fit
from tests.training.distributed.small_models import conv_model, largest_difference, rows


@pytest.mark.parametrize("strength", STRENGTHS)
def test_images_change_only_in_training(strength):
    images = _noise(4)
    model = augmented(_identity(), strength)
    np.testing.assert_array_equal(_output(model, images, training=False), images)
    changed = _output(model, images, training=True)
    assert all(np.abs(changed - images).mean(axis=(1, 2, 3)) > 1)
    assert not np.array_equal(changed, _output(model, images, training=True))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_every_image_of_a_batch_is_changed_differently(strength):
    same = np.repeat(_noise(1), 8, axis=0)
    changed = _output(augmented(_identity(), strength), same, training=True)
    assert len({image.tobytes() for image in changed}) == 8


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_changes_follow_the_seed_of_keras(strength):
    images = _noise(4)
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        outputs.append(_output(augmented(_identity(), strength), images, training=True))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("strength", STRENGTHS)
def test_left_stays_left(strength):
    images = np.zeros((200, 40, 40, 1), np.uint8)
    images[:, :, :20] = 200
    columns = _output(augmented(_identity(), strength), images, training=True).mean(axis=(1, 3))
    left, right = columns[:, 5:15].mean(axis=1), columns[:, 25:35].mean(axis=1)
    assert (left - right).min() > 40


def test_rotations_and_shifts_are_small_and_leave_black_areas():
    white = np.full((200, 100, 100, 1), 255, np.uint8)
    changed = _output(augmented(_identity(), "light"), white, training=True)[..., 0]
    # 5 of 100 by a shift, and 50 * sin(5 degrees) = 4.4 by a rotation
    np.testing.assert_array_equal(changed[:, 11:-11, 11:-11], 255)
    assert (changed[:, :2] == 0).any(axis=(1, 2)).mean() > 0.3
    assert changed.min() == 0


def test_a_dot_moves_by_at_most_5_percent_in_both_directions():
    images = np.zeros((300, 101, 101, 1), np.uint8)
    images[:, 49:52, 49:52] = 255
    changed = _output(augmented(_identity(), "light"), images, training=True)[..., 0].astype(float)
    mass = changed.sum(axis=(1, 2))
    for axis in (1, 2):
        positions = (changed.sum(axis=3 - axis) * np.arange(101)).sum(axis=1) / mass - 50
        assert 4 < positions.max() < 5.6
        assert -5.6 < positions.min() < -4


def test_contrast_changes_by_at_most_a_tenth_and_brightness_hardly_at_all():
    images = np.full((300, 100, 100, 1), 50, np.uint8)
    images[:, :, 50:] = 150
    changed = _output(augmented(_identity(), "light"), images, training=True)
    dark, bright = changed[:, 50, 25, 0], changed[:, 50, 75, 0]
    assert 90 <= (bright - dark).min() < 92
    assert 108 < (bright - dark).max() <= 110
    np.testing.assert_allclose((dark + bright) / 2, 100, atol=0.5)


def test_strong_augmentation_also_brightens_zooms_and_erases():
    keras.utils.set_random_seed(0)
    images = np.zeros((300, 101, 101, 1), np.uint8)
    images[:, 26:75, 26:75] = 120
    changed = _output(augmented(_identity(), "strong"), images, training=True)[..., 0].astype(float)
    centers = changed[:, 48:53, 48:53].max(axis=(1, 2))
    # by a fifth of white in either direction, and by the contrast to a mean of 28
    darker, brighter = np.quantile(centers, (0.1, 0.9))
    assert 60 < darker < 90
    assert 150 < brighter < 190
    halfway = (changed.max(axis=(1, 2)) + changed[:, 15:-15, 15:-15].min(axis=(1, 2))) / 2
    areas = (changed > halfway[:, None, None]).sum(axis=(1, 2)) / 49**2
    assert areas.max() > 1.25
    assert areas.min() < 0.8
    white = np.full((300, 100, 100, 1), 255, np.uint8)
    middle = _output(augmented(_identity(), "strong"), white, training=True)[:, 35:65, 35:65, 0]
    # half of the images have an erased area, which is not always in the middle
    assert 0.1 < (middle == 0).any(axis=(1, 2)).mean() < 0.5


def test_the_settings_accept_every_strength():
    for strength in ("off", *STRENGTHS):
        assert TrainConfig(data="unused", output="unused", augment=strength).augment == strength


def test_training_the_augmented_model_changes_the_weights_of_the_inner_one():
    inner = conv_model("adam")
    fingerprint = inner.get_config()
    before = inner.get_weights()
    model = _compiled(inner)
    (epoch,) = fit(model, rows(), rows(11), epochs=1, global_batch_size=8, seed=0)
    assert largest_difference(inner.get_weights(), before) > 1e-3
    assert inner.get_config() == fingerprint
    # validation images are unchanged: the inner model has the same accuracy
    images, labels = rows(11).all_images, rows(11).all_labels
    scores = np.asarray(inner(images))[:, 0]
    assert np.isclose(epoch["val_accuracy"], np.mean((scores > 0.5) == labels))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_training_with_augmentation_depends_only_on_its_seed(strength):
    def trained(seed, *, resumed=False):
        inner = conv_model("adam")
        model = _compiled(inner, strength)
        if resumed:
            # a resumed process has drawn different random numbers before
            model(rows().all_images, training=True)
        fit(model, rows(), epochs=2, global_batch_size=8, seed=seed)
        return inner.get_weights()

    first = trained(0)
    assert largest_difference(trained(0, resumed=True), first) < 1e-6
    assert largest_difference(trained(1), first) > 1e-4
    plain = conv_model("adam")
    fit(plain, rows(), epochs=2, global_batch_size=8, seed=0)
    assert largest_difference(plain.get_weights(), first) > 1e-4


def test_the_augmented_model_has_only_the_weights_of_the_inner_one():
    inner = models.build("digits", 3)
    model = augmented(inner, "light")
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in inner.weights]
    assert model.output_shape == (None, 3)
    assert model.inputs[0].dtype == "uint8"


def _compiled(inner, strength="light"):
    model = augmented(inner, strength)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model


def _identity():
    """A model that returns its pixels."""
    pixels = keras.Input((None, None, 1), dtype="uint8")
    return keras.Model(pixels, keras.layers.Rescaling(1.0)(pixels))


def _output(model, images, *, training):
    return np.asarray(model(images, training=training))


def _noise(number):
    return np.random.default_rng(0).integers(0, 256, (number, 40, 40, 1), dtype=np.uint8)
