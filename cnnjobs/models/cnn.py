"""The CNNs of the lab sheet: convolutions with max-pooling, and one hidden dense layer."""

from collections.abc import Sequence

import keras
from keras import layers


def covid(height: int, width: int, num_labels: int) -> keras.Model:
    """For chest X-rays: 14,838,529 parameters at 256 x 256 and two labels."""
    flat = layers.Flatten(name="flatten")
    return _convolutions("covid", (32, 64, 128), flat, height, width, num_labels)


def covid_gap(height: int, width: int, num_labels: int) -> keras.Model:
    """`covid` with each channel averaged over the image: 109,313 parameters at any size."""
    means = layers.GlobalAveragePooling2D(name="average")
    return _convolutions("covid-gap", (32, 64, 128), means, height, width, num_labels)


def digits(height: int, width: int, num_labels: int) -> keras.Model:
    """For handwritten digits: 225,034 parameters at 28 x 28 and ten labels."""
    flat = layers.Flatten(name="flatten")
    return _convolutions("digits", (32, 64), flat, height, width, num_labels)


def scores(num_labels: int) -> layers.Layer:
    """The last layer: (N, features) to (N, 1) sigmoid, or (N, num_labels) softmax for 3 or more.

    In float32 whatever the other layers compute in: in 16 bits a probability near 0 or 1 is exactly
    that, and its loss has no gradient.
    """
    if num_labels == 2:
        return layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")
    return layers.Dense(num_labels, activation="softmax", dtype="float32", name="probabilities")


def _convolutions(
    name: str,
    filters: Sequence[int],
    to_vector: layers.Layer,
    height: int,
    width: int,
    num_labels: int,
) -> keras.Model:
    """(N, height, width, 1) uint8 to (N, 1) sigmoid, or (N, num_labels) softmax for 3 or more.

    The first layer scales pixels to [0, 1], so no caller can forget or repeat it.
    """
    # every layer has a name: Keras numbers unnamed layers across the whole process, but the
    # fingerprint of a model must not depend on which models were built before
    stack = [
        keras.Input((height, width, 1), dtype="uint8", name="pixels"),
        layers.Rescaling(1 / 255, name="scale"),
    ]
    for number, num_filters in enumerate(filters, start=1):
        stack += [
            layers.Conv2D(num_filters, 3, activation="relu", name=f"conv_{number}"),
            layers.MaxPooling2D(2, name=f"pool_{number}"),
        ]
    stack += [to_vector, layers.Dense(128, activation="relu", name="hidden"), scores(num_labels)]
    return keras.Sequential(stack, name=name)
