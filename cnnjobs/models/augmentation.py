"""Random changes of the images, made in training and at no other time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How far images are changed; 0 leaves a change out.

    Attributes:
        degrees: of a rotation to either side, at most.
        shift: part of the height and of the width.
        contrast: by which differences from an image's mean are scaled, more or less.
        brightness: part of white that is added or taken away.
        zoom: by which an image is made larger or smaller.
        erase: share of the images in which a rectangle of 2 to 10 % is painted black.
    """

    degrees: float
    shift: float
    contrast: float
    brightness: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0


STRENGTHS = {
    "light": Strength(degrees=5, shift=0.05, contrast=0.1),
    "strong": Strength(degrees=15, shift=0.1, contrast=0.4, brightness=0.2, zoom=0.15, erase=0.5),
}


def augmented(model: "keras.Model", strength: str) -> "keras.Model":
    """A model to train in place of `model`: (N, height, width, 1) uint8 in, the same scores out.

    The two share their weights. Compile and train the one returned; then save and score with
    `model`, which knows nothing of this. Every image gets its own changes at every step, with
    black where nothing was; never a left-right flip, because hearts are on the left. Outside
    training images pass unchanged.

    The random states are the layers' own, made from the seed of `keras.utils.set_random_seed`
    and among the `variables` of the model returned. XLA has no such rotation: the model
    returned cannot be compiled with `jit_compile=True`.
    """
    import keras

    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    changed = keras.ops.cast(pixels, "float32")
    for change in _changes(STRENGTHS[strength]):
        changed = change(changed)
    # a cast alone would make every image darker, by half a gray value
    rounded = keras.ops.cast(keras.ops.round(changed), "uint8")
    return keras.Model(pixels, model(rounded), name=f"{model.name}-augmented")


def _changes(strength: Strength) -> list[Any]:
    from keras import layers

    black = {"fill_mode": "constant", "fill_value": 0.0, "dtype": "float32"}
    gray: dict[str, Any] = {"value_range": (0, 255), "dtype": "float32"}
    # first, so that the black around it does not count in the mean; and a pair, because of
    # one number Keras makes more contrast only
    contrast = (strength.contrast, strength.contrast)
    changes = [layers.RandomContrast(contrast, name="random_contrast", **gray)]
    if strength.brightness:
        changes.append(
            layers.RandomBrightness(strength.brightness, name="random_brightness", **gray)
        )
    shift = strength.shift, strength.shift
    changes += [
        layers.RandomRotation(strength.degrees / 360, name="random_rotation", **black),
        layers.RandomTranslation(*shift, name="random_shift", **black),
    ]
    if strength.zoom:
        changes.append(layers.RandomZoom(strength.zoom, name="random_zoom", **black))
    if strength.erase:
        share = (strength.erase, strength.erase)
        changes.append(
            layers.RandomErasing(
                share, scale=(0.02, 0.1), fill_value=0.0, name="random_erasing", **gray
            )
        )
    return changes
