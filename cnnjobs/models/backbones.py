"""Backbones of keras.applications under a head of our own."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError
from cnnjobs.models.layer_names import count_names_anew

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"

#: Of ImageNet's red, green and blue in [0, 1]: the numbers of mode "torch" in Keras'
#: `keras.applications.imagenet_utils.preprocess_input`, which `densenet.preprocess_input` is.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(
    name: str, height: int, width: int, num_labels: int, weights: str | None
) -> "keras.Model":
    """(N, height, width, 1) uint8 to (N, 1) sigmoid, or (N, num_labels) softmax above 2 labels.

    Gray is given as red, green and blue, scaled as the backbone was trained (its own layers,
    where Keras offers them); then its features' means over the image, dropout 0.2 and one
    dense layer. `weights` is None for random ones, "imagenet" for Keras' own from its cache or
    the network, or a file that `save_weights` of the backbone without top has written.

    Raises:
        InputError: the weights cannot be had or are of another architecture.
    """
    import keras
    from keras import layers

    from cnnjobs.models import cnn

    backbones = {
        "mobilenetv3small": keras.applications.MobileNetV3Small,
        "efficientnetv2b0": keras.applications.EfficientNetV2B0,
        "densenet121": keras.applications.DenseNet121,
    }
    pixels = keras.Input((height, width, 1), dtype="uint8", name="pixels")
    # not a Lambda, which Keras' safe mode refuses to load
    colours = layers.Concatenate(name="gray_to_rgb")([pixels, pixels, pixels])
    if name == "densenet121":
        colours = layers.Rescaling(1 / 255, name="scale")(colours)
        variances = [deviation**2 for deviation in _DEVIATIONS]
        normalize = layers.Normalization(mean=list(_MEANS), variance=variances, name="normalize")
        colours = normalize(colours)
    make = functools.partial(
        backbones[name],
        include_top=False,
        input_tensor=colours,
        input_shape=(height, width, 3),
        pooling="avg",
    )
    backbone = _fetched(make, name) if weights == IMAGENET else _from_file(make, name, weights)
    dropped = layers.Dropout(0.2, name="dropout")(backbone.output)
    return count_names_anew(keras.Model(pixels, cnn.scores(num_labels)(dropped), name=name))


def _from_file(make: Callable[..., Any], name: str, weights: str | None) -> Any:
    """The backbone with the weights of a file, or random ones."""
    backbone = make(weights=None)
    if weights is None:
        return backbone
    if not Path(weights).is_file():
        raise InputError(
            f"there is no file of weights {weights}; give a .weights.h5 file, or {IMAGENET}."
        )
    try:
        # of some layers that the file lacks, Keras only warns
        with warnings.catch_warnings(action="error", category=UserWarning):
            backbone.load_weights(weights)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise InputError(
            f"{weights} does not hold the weights of {name}; give the file that save_weights of "
            "Keras' model without top (include_top=False) has written, named *.weights.h5."
        ) from error
    return backbone


def _fetched(make: Callable[..., Any], name: str) -> Any:
    """The backbone with the weights that Keras keeps in its cache or fetches."""
    try:
        return make(weights=IMAGENET)
    except Exception as error:
        # Keras raises a bare Exception where there is no network, with the reason behind it
        if not isinstance(error, OSError) and not isinstance(error.__context__, OSError):
            raise
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise InputError(
            f"the {IMAGENET} weights of {name} are not in Keras' cache and cannot be fetched "
            f"({error}); place that file in {cache}, or give another file of weights, or none."
        ) from error
