"""Backbones from keras.applications with our own head."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError
from cnnjobs.models.keras_applications import APPLICATIONS
from cnnjobs.models.layer_names import with_reset_names

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"

#: Of ImageNet's red, green and blue in [0, 1]: the constants of mode "torch" in
#: `keras.applications.imagenet_utils.preprocess_input`, which `densenet.preprocess_input` uses.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Means of ImageNet's blue, green and red in [0, 255]: those of mode "caffe".
_BGR = (103.939, 116.779, 123.68)


def build(
    name: str, height: int, width: int, num_labels: int, weights: str | None
) -> "keras.Model":
    """(N, height, width, 1) uint8 to (N, 1) sigmoid, or (N, num_labels) softmax for 3 or more.

    Gray levels are copied to red, green and blue and scaled as in the backbone's training (by its
    own layers, if Keras has them). The features are averaged over the image, followed by dropout
    0.2 and a dense layer. `weights` is None for random weights, "imagenet" for those of Keras, from
    its cache or the network, or a file written by `save_weights` of the backbone without top.

    Raises:
        InputError: the images are too small, or the weights are not available or are for another
            architecture.
    """
    import keras
    from keras import layers

    from cnnjobs.models import cnn

    family = APPLICATIONS[name].family
    if min(height, width) < family.min_side:
        raise InputError(
            f"{name} takes images of at least {family.min_side}x{family.min_side}, got "
            f"{height}x{width}."
        )
    pixels = keras.Input((height, width, 1), dtype="uint8", name="pixels")
    # not a Lambda layer, which Keras' safe mode refuses to load
    colors = pixels
    if family.channels == 3:
        colors = layers.Concatenate(name="gray_to_rgb")([pixels, pixels, pixels])
    for layer in preprocessing(family.pixels):
        colors = layer(colors)
    make = bare(name, height, width)
    ours = functools.partial(make, input_tensor=colors)
    if family.pixels == "xrv" and weights == IMAGENET:
        raise InputError(f"{name} takes a file that `cnnjobs import xrv` wrote, got {weights}.")
    if family.pixels == "torch, 255" and weights is not None:
        source = _with_weights(make, name, weights)
        backbone = _without_normalization(ours(weights=None), source)
    else:
        backbone = _with_weights(ours, name, weights)
    dropped = layers.Dropout(0.2, name="dropout")(backbone.output)
    return with_reset_names(keras.Model(pixels, cnn.scores(num_labels)(dropped), name=name))


def bare(name: str, height: int, width: int) -> Callable[..., Any]:
    """Makes the network alone: without our head, and for pixels that are scaled already."""
    import keras

    known = APPLICATIONS[name]
    return functools.partial(
        getattr(keras.applications, known.maker),
        include_top=False,
        input_shape=(height, width, known.family.channels),
        pooling="avg",
    )


def preprocessing(mode: str) -> list[Any]:
    """What `imagenet_utils.preprocess_input` does in this mode, as layers (all colors are gray)."""
    from keras import layers

    if mode == "own":
        return []
    if mode == "xrv":
        return [layers.Rescaling(2048 / 255, offset=-1024.0, name="scale")]
    if mode == "tf":
        return [layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")]
    if mode == "caffe":
        return [layers.Normalization(mean=list(_BGR), variance=[1.0] * 3, name="normalize")]
    variances = [deviation**2 for deviation in _DEVIATIONS]
    scaled = [
        layers.Rescaling(1 / 255, name="scale"),
        layers.Normalization(mean=list(_MEANS), variance=variances, name="normalize"),
    ]
    return scaled if mode == "torch" else [*scaled, layers.Rescaling(255.0, name="unscale")]


def _without_normalization(model: "keras.Model", source: "keras.Model") -> "keras.Model":
    """`model` with the weights of `source`, except for means and variances of its pixels.

    EfficientNet (the first version) keeps them in weights, which `set_weights` does not apply, and
    with those of ImageNet Keras adds a layer (tensorflow#49930). Our own layers normalize instead.
    Beside them, Keras would load these weights into the wrong layer: it counts layers by class.
    """
    from keras import layers

    known = {
        id(weight)
        for layer in model.layers
        if isinstance(layer, layers.Normalization)
        for weight in layer.weights
    }
    for weight, other in zip(model.weights, source.weights, strict=True):
        if id(weight) not in known:
            weight.assign(other)
    return model


def _with_weights(make: Callable[..., Any], name: str, weights: str | None) -> Any:
    return _fetched(make, name) if weights == IMAGENET else _from_file(make, name, weights)


def _from_file(make: Callable[..., Any], name: str, weights: str | None) -> Any:
    """The backbone with the weights from a file, or random weights."""
    from cnnjobs.models import keras_file

    backbone = make(weights=None)
    if weights is None:
        return backbone
    if not Path(weights).is_file():
        raise InputError(
            f"there is no weights file {weights}; use a .weights.h5 file, or {IMAGENET}."
        )
    try:
        # for some layers missing in the file, Keras only warns
        with warnings.catch_warnings(action="error", category=UserWarning):
            backbone.load_weights(weights)
    except (*keras_file.REFUSALS, UserWarning) as error:
        raise InputError(
            f"{weights} does not contain the weights of {name}; use a file that save_weights of "
            "Keras' model without top (include_top=False) has written, named *.weights.h5."
        ) from error
    return backbone


def _fetched(make: Callable[..., Any], name: str) -> Any:
    """The backbone with the weights that Keras has in its cache or downloads."""
    try:
        return make(weights=IMAGENET)
    except Exception as error:
        # without a network, Keras raises a bare Exception with the reason as its context
        if not isinstance(error, OSError) and not isinstance(error.__context__, OSError):
            raise
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise InputError(
            f"the {IMAGENET} weights of {name} are not in Keras' cache and cannot be downloaded "
            f"({error}); put that file into {cache}, or use another weights file, or none."
        ) from error
