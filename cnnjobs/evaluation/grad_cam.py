"""Where a network looks: Grad-CAM (Selvaraju et al. 2017), for any Keras model of images.

The gradient of a class' logit says how much each channel of the last layer that still has places
speaks for the class; the channels so weighted, where they speak for it, are the heat.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import InputError
from cnnjobs.models import import_keras

if TYPE_CHECKING:
    import keras

Heat = NDArray[np.float32]

#: How much the heat covers the image where it is 1.
_OPACITY = 0.55


class Watched(NamedTuple):
    """A model that also gives what its last layer with places sees, and its logits if it can."""

    model: "keras.Model"
    gives_logits: bool


def heat(model: "keras.Model", pixels: NDArray[np.uint8], *, towards: int | None = None) -> Heat:
    """What speaks for a class, (height, width) from 0 to 1; see `heat_of`.

    Args:
        model: (N, height, width, 1) uint8 to (N, 1) or (N, classes) probabilities.
        pixels: (height, width, 1) of one image.
        towards: the class' place; of a model with one output 1 is the positive class, 0 the
            other. None: the class that is more probable.

    Raises:
        InputError: no layer of the model has places.
    """
    return heat_of(watched(model), pixels, towards=towards)


def watched(model: "keras.Model") -> Watched:
    """Make ready to ask for the heat of many images.

    Raises:
        InputError: no layer of the model has places.
    """
    keras = import_keras()
    last = model.layers[-1]
    bare: Any = last
    if isinstance(last, keras.layers.Dense | keras.layers.Activation):
        bare = type(last).from_config({**last.get_config(), "activation": "linear"})
    found = _with_places(model, {last.name: bare})
    if found is None:
        raise InputError(
            f"no layer of {model.name} gives an image, so there is nowhere to look; explain takes "
            "models with convolutions."
        )
    if bare is not last:
        bare.set_weights(last.get_weights())
    # TensorFlow follows no gradients behind layers that are frozen
    found.trainable = True
    return Watched(found, gives_logits=bare is not last)


def heat_of(watched: Watched, pixels: NDArray[np.uint8], *, towards: int | None = None) -> Heat:
    """As `heat`, of a model made ready; all 0 where nothing speaks for the class."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        places, outputs = watched.model(pixels[np.newaxis], training=False)
        score = _score(outputs[0], towards, gives_logits=watched.gives_logits)
    weights = np.asarray(tape.gradient(score, places), np.float32).mean(axis=(1, 2))
    spoken = np.maximum((np.asarray(places, np.float32) * weights[:, None, None]).sum(axis=3), 0)[0]
    height, width = pixels.shape[:2]
    spread = cv2.resize(spoken, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(spread / max(float(spread.max()), 1e-12), np.float32)


def overlay(gray: NDArray[np.uint8], heat: Heat) -> NDArray[np.uint8]:
    """The image under its heat, (height, width, 3) RGB; the heat may have another size.

    Cold places stay gray: what is laid over is as opaque as it is hot.
    """
    height, width = gray.shape[:2]
    spread = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    levels = np.rint(spread * 255).astype(np.uint8)
    colors = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.float32)[:, :, ::-1]
    opacity = _OPACITY * spread[:, :, np.newaxis]
    mixed = gray.reshape(height, width, 1) * (1 - opacity) + colors * opacity
    return np.asarray(np.rint(mixed), np.uint8)


def _with_places(model: Any, replaced: dict[str, Any]) -> Any:
    """The same layers in a model that gives (places, outputs); None where no layer has places.

    Args:
        model: or a model that is a layer of another.
        replaced: layers to put in place of others, by their names.
    """
    keras = import_keras()
    seen: list[Any] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            inner = _with_places(layer, {})
            if inner is not None:
                places, outputs = inner(*args)
                seen.append(places)
                return outputs
        outputs = layer(*args, **kwargs)
        if hasattr(outputs, "shape") and len(outputs.shape) == 4 and max(outputs.shape[1:3]) > 1:
            seen.append(outputs)
        return outputs

    # a sequential model has no calls that could be watched
    functional = keras.Model(model.inputs[0], model.outputs[0])
    copy = keras.models.clone_model(
        functional,
        clone_function=lambda layer: replaced.get(layer.name, layer),
        call_function=call,
    )
    return keras.Model(copy.inputs[0], [seen[-1], copy.outputs[0]]) if seen else None


def _score(outputs: Any, towards: int | None, *, gives_logits: bool) -> Any:
    """The logit of a class: of a model with one output, below 0 for the negative class."""
    import tensorflow as tf

    if len(outputs) > 1:
        place = int(np.argmax(outputs)) if towards is None else towards
        return outputs[place] if gives_logits else tf.math.log(outputs[place] + 1e-7)
    logit = outputs[0]
    if not gives_logits:
        logit = tf.math.log(logit + 1e-7) - tf.math.log(1 - logit + 1e-7)
    is_positive = bool(logit >= 0) if towards is None else towards == 1
    return logit if is_positive else -logit
