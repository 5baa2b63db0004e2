"""Random changes to the images, only during training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Strength:
    """The largest changes, in either direction; 0 turns a change off.

    Attributes:
        degrees: of rotation.
        shift: as a share of the height and of the width.
        contrast: relative change of the differences from an image's mean.
        brightness: added or subtracted, as a share of white.
        zoom: relative change of the size.
        erase: share of images in which a rectangle of 2 to 10% of the area is painted black.
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
    """A model to train instead of `model`: (N, height, width, 1) uint8 in, the same scores out.

    The two share their weights. Compile and train the returned model, then save `model` and score
    with it, without augmentation. Every image is changed differently at every step, and areas
    without content are filled with black. Images are never flipped left to right, because hearts
    are on the left. Outside of training they pass unchanged.

    The random states belong to the layers, are seeded by `keras.utils.set_random_seed`, and are
    among the `variables` of the returned model. XLA does not support the rotation, so the returned
    model cannot be compiled with `jit_compile=True`.
    """
    import keras

    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    changed = keras.ops.cast(pixels, "float32")
    for change in _changes(STRENGTHS[strength]):
        changed = change(changed)
    # without rounding, the cast would darken every image by half a gray level
    rounded = keras.ops.cast(keras.ops.round(changed), "uint8")
    return keras.Model(pixels, model(rounded), name=f"{model.name}-augmented")


def _changes(strength: Strength) -> list[Any]:
    from keras import layers

    black = {"fill_mode": "constant", "fill_value": 0.0, "dtype": "float32"}
    gray: dict[str, Any] = {"value_range": (0, 255), "dtype": "float32"}
    # contrast comes first, so the black areas do not count in the mean; it is a pair, because
    # with a single number Keras only increases the contrast
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
