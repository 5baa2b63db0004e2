"""Start a model from the weights of another one, and train only its head at first.

The head is the last layer with weights; everything before it is the backbone.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError

if TYPE_CHECKING:
    import keras


def copy_weights(source: "keras.Model", model: "keras.Model", *, with_head: bool) -> None:
    """Set the weights of `model` to those of `source`; without its head, which stays as it is.

    Raises:
        InputError: the layers have other shapes.
    """
    pairs = [_split(each) for each in (source, model)]
    (from_backbone, from_head), (backbone, head) = pairs
    if with_head:
        from_backbone, backbone = from_backbone + from_head, backbone + head
    shapes = [[tuple(weight.shape) for weight in each] for each in (from_backbone, backbone)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"the layers of the initial model and of {model.name} have different shapes; start "
            "from a bundle of the same model."
        )
    for weight, initial in zip(backbone, from_backbone, strict=True):
        weight.assign(initial)


def freeze_backbone(model: "keras.Model") -> list[Any]:
    """Make all layers but the head constant; returns those that were not before.

    Frozen batch normalization uses its stored statistics, also in training, and leaves them as
    they are.
    """
    *backbone, _ = [layer for layer in leaves(model) if layer.weights]
    frozen = [layer for layer in backbone if layer.trainable]
    for layer in frozen:
        layer.trainable = False
    return frozen


def leaves(model: "keras.Model") -> Iterator[Any]:
    """Yield the layers of a model, and of the models in it, in order."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def _split(model: "keras.Model") -> tuple[list[Any], list[Any]]:
    """The weights of the backbone and of the head."""
    *backbone, head = [layer.weights for layer in leaves(model) if layer.weights]
    return [weight for weights in backbone for weight in weights], list(head)
