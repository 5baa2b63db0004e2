"""Small random changes of the images, made in training and at no other time."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

DEGREES = 5
"""Rotations are up to this many degrees to either side."""
SHIFT = 0.05
"""Shifts are up to this part of the height and of the width."""
CONTRAST = 0.1
"""Differences from an image's mean are scaled by up to this part more or less."""


def augmented(model: "keras.Model") -> "keras.Model":
    """A model to train in place of `model`: (N, height, width, 1) uint8 in, the same scores out.

    The two share their weights. Compile and train the one returned; then save and score with
    `model`, which knows nothing of this. Every image gets its own contrast, rotation and shift
    at every step, with black where nothing was; never a left-right flip, because hearts are on
    the left. Outside training images pass unchanged.

    The random states are the layers' own, made from the seed of `keras.utils.set_random_seed`
    and among the `variables` of the model returned. XLA has no such rotation: the model
    returned cannot be compiled with `jit_compile=True`.
    """
    import keras
    from keras import layers

    black = {"fill_mode": "constant", "fill_value": 0.0, "dtype": "float32"}
    changes = [
        # first, so that the black around it does not count in the mean; and a pair, because of
        # one number Keras makes more contrast only
        layers.RandomContrast(
            (CONTRAST, CONTRAST), value_range=(0, 255), dtype="float32", name="random_contrast"
        ),
        layers.RandomRotation(DEGREES / 360, name="random_rotation", **black),
        layers.RandomTranslation(SHIFT, SHIFT, name="random_shift", **black),
    ]
    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    changed = keras.ops.cast(pixels, "float32")
    for change in changes:
        changed = change(changed)
    # a cast alone would make every image darker, by half a gray value
    rounded = keras.ops.cast(keras.ops.round(changed), "uint8")
    return keras.Model(pixels, model(rounded), name=f"{model.name}-augmented")
