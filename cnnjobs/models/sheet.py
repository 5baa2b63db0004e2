"""The lab sheet's CNNs: convolutions with max-pooling, one hidden dense layer."""

from collections.abc import Sequence

import keras
from keras import layers


def covid(height: int, width: int, num_labels: int) -> keras.Model:
    """For chest X-rays: 14,838,529 parameters at 256 x 256 and two labels."""
    return _convolutions("covid", (32, 64, 128), height, width, num_labels)


def digits(height: int, width: int, num_labels: int) -> keras.Model:
    """For handwritten digits: 225,034 parameters at 28 x 28 and ten labels."""
    return _convolutions("digits", (32, 64), height, width, num_labels)


def _convolutions(
    name: str, filters: Sequence[int], height: int, width: int, num_labels: int
) -> keras.Model:
    """(N, height, width, 1) uint8 to (N, 1) sigmoid, or (N, num_labels) softmax above 2 labels.

    Scaling to [0, 1] is the first layer: no caller can forget or repeat it.
    """
    stack = [keras.Input((height, width, 1), dtype="uint8"), layers.Rescaling(1 / 255)]
    for number in filters:
        stack += [layers.Conv2D(number, 3, activation="relu"), layers.MaxPooling2D(2)]
    stack += [layers.Flatten(), layers.Dense(128, activation="relu")]
    if num_labels == 2:
        stack.append(layers.Dense(1, activation="sigmoid"))
    else:
        stack.append(layers.Dense(num_labels, activation="softmax"))
    return keras.Sequential(stack, name=name)
