"""The architectures by name, and the one place that brings Keras in."""

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What is known of an architecture before Keras is imported to build it.

    `num_parameters` holds for `num_labels` classes, the task it was drawn for.
    """

    name: str
    summary: str
    height: int
    width: int
    num_labels: int
    num_parameters: int


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="covid",
            summary="Conv 32-64-128, each with max-pooling, Dense 128, sigmoid",
            height=256,
            width=256,
            num_labels=2,
            num_parameters=14_838_529,
        ),
        Architecture(
            name="digits",
            summary="Conv 32-64, each with max-pooling, Dense 128, softmax",
            height=28,
            width=28,
            num_labels=10,
            num_parameters=225_034,
        ),
    )
}


def find(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        InputError: there is none; near names are suggested.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ARCHITECTURES)}."
    raise InputError(f"there is no model {name!r}; {hint}")


def build(name: str, num_labels: int) -> "keras.Model":
    """A new Keras model: (N, height, width, 1) uint8 in, scores out.

    Two labels give (N, 1), the probability of the positive class; more give
    (N, num_labels), probabilities that sum to 1.
    """
    architecture = find(name)
    import_keras()
    from cnnjobs.models import sheet

    builders = {"covid": sheet.covid, "digits": sheet.digits}
    return builders[architecture.name](architecture.height, architecture.width, num_labels)


def import_keras() -> Any:
    """The `keras` module on the TensorFlow backend, whatever a user's keras.json says."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()
    import keras

    return keras


def quiet_tensorflow() -> None:
    """Leave out TensorFlow's start-up lines about CPU features and missing GPUs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
