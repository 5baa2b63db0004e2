"""Saliency of any Keras model of images by Grad-CAM (Selvaraju et al. 2017).

The gradient of a class's logit weights the channels of the last spatial layer. Their weighted sum,
where it is positive, is the heat.
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

#: Opacity of the overlay where the heat is 1.
_OPACITY = 0.55


class PreparedModel(NamedTuple):
    """A model that also outputs its last spatial layer, and logits if it can."""

    model: "keras.Model"
    gives_logits: bool


def prepare(model: "keras.Model") -> PreparedModel:
    """Prepare a model for `heat`, once for many images.

    Args:
        model: (N, height, width, 1) uint8 to (N, 1) or (N, classes) probabilities.

    Raises:
        InputError: the model has no spatial layer.
    """
    keras = import_keras()
    last = model.layers[-1]
    linear: Any = last
    if isinstance(last, keras.layers.Dense | keras.layers.Activation):
        linear = type(last).from_config({**last.get_config(), "activation": "linear"})
    with_spatial = _with_spatial_output(model, {last.name: linear})
    if with_spatial is None:
        raise InputError(
            f"{model.name} has no spatial layer to explain; explain takes models with convolutions."
        )
    if linear is not last:
        linear.set_weights(last.get_weights())
    # TensorFlow does not track gradients past frozen layers
    with_spatial.trainable = True
    return PreparedModel(with_spatial, gives_logits=linear is not last)


def heat(prepared: PreparedModel, pixels: NDArray[np.uint8], *, target: int | None = None) -> Heat:
    """The evidence for a class, (height, width) from 0 to 1; all 0 if there is none.

    Args:
        prepared: see `prepare`.
        pixels: (height, width, 1) of one image.
        target: index of the class; in a model with one output, 1 is the positive class and 0 the
            negative one. None: the predicted class.
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        spatial, outputs = prepared.model(pixels[np.newaxis], training=False)
        score = _score(outputs[0], target, gives_logits=prepared.gives_logits)
    weights = np.asarray(tape.gradient(score, spatial), np.float32).mean(axis=(1, 2))
    weighted = (np.asarray(spatial, np.float32) * weights[:, None, None]).sum(axis=3)
    evidence = np.maximum(weighted, 0)[0]
    height, width = pixels.shape[:2]
    resized = cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized / max(float(resized.max()), 1e-12), np.float32)


def overlay(gray: NDArray[np.uint8], heat: Heat) -> NDArray[np.uint8]:
    """The image under its heat, (height, width, 3) RGB; the heat may have another size.

    Opacity grows with the heat, so cold regions stay gray.
    """
    height, width = gray.shape[:2]
    resized = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    levels = np.rint(resized * 255).astype(np.uint8)
    colors = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.float32)[:, :, ::-1]
    opacity = _OPACITY * resized[:, :, np.newaxis]
    mixed = gray.reshape(height, width, 1) * (1 - opacity) + colors * opacity
    return np.asarray(np.rint(mixed), np.uint8)


def _with_spatial_output(model: Any, replacements: dict[str, Any]) -> Any:
    """The same layers in a model that outputs (spatial, outputs); None without a spatial layer.

    Args:
        model: the model, or a model nested in it as a layer.
        replacements: layers that replace others, by name.
    """
    keras = import_keras()
    seen: list[Any] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            inner = _with_spatial_output(layer, {})
            if inner is not None:
                spatial, outputs = inner(*args)
                seen.append(spatial)
                return outputs
        outputs = layer(*args, **kwargs)
        if hasattr(outputs, "shape") and len(outputs.shape) == 4 and max(outputs.shape[1:3]) > 1:
            seen.append(outputs)
        return outputs

    # cloning intercepts the calls of functional models only, not of sequential ones
    functional = keras.Model(model.inputs[0], model.outputs[0])
    copy = keras.models.clone_model(
        functional,
        clone_function=lambda layer: replacements.get(layer.name, layer),
        call_function=call,
    )
    return keras.Model(copy.inputs[0], [seen[-1], copy.outputs[0]]) if seen else None


def _score(outputs: Any, target: int | None, *, gives_logits: bool) -> Any:
    """The logit of a class; with one output, the negated logit is the negative class's."""
    import tensorflow as tf

    if len(outputs) > 1:
        index = int(np.argmax(outputs)) if target is None else target
        return outputs[index] if gives_logits else tf.math.log(outputs[index] + 1e-7)
    logit = outputs[0]
    if not gives_logits:
        logit = tf.math.log(logit + 1e-7) - tf.math.log(1 - logit + 1e-7)
    is_positive = bool(logit >= 0) if target is None else target == 1
    return logit if is_positive else -logit
