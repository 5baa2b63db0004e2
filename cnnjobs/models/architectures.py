"""The table of architectures: find, build and describe them."""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnjobs.errors import InputError
from cnnjobs.models.keras_backend import import_keras
from cnnjobs.models.user_model import OwnModel, is_own, read

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What is known of an architecture before Keras is imported to build it.

    `num_parameters` holds for `num_labels` classes, the task it was drawn for. Of a user's own
    model the numbers are 0 until `describe` has built it.
    """

    name: str
    summary: str
    height: int
    width: int
    num_labels: int
    num_parameters: int
    takes_weights: bool = False

    @property
    def is_described(self) -> bool:
        """Whether the numbers are known; if not, `describe` finds them."""
        return self.num_parameters > 0


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
            name="covid-gap",
            summary="as covid, with global average pooling before Dense 128",
            height=256,
            width=256,
            num_labels=2,
            num_parameters=109_313,
        ),
        Architecture(
            name="digits",
            summary="Conv 32-64, each with max-pooling, Dense 128, softmax",
            height=28,
            width=28,
            num_labels=10,
            num_parameters=225_034,
        ),
        Architecture(
            name="mobilenetv3small",
            summary="MobileNetV3-Small, average pooling, dropout, sigmoid",
            height=224,
            width=224,
            num_labels=2,
            num_parameters=939_697,
            takes_weights=True,
        ),
        Architecture(
            name="efficientnetv2b0",
            summary="EfficientNetV2-B0, average pooling, dropout, sigmoid",
            height=224,
            width=224,
            num_labels=2,
            num_parameters=5_920_593,
            takes_weights=True,
        ),
        Architecture(
            name="densenet121",
            summary="DenseNet-121, average pooling, dropout, sigmoid",
            height=224,
            width=224,
            num_labels=2,
            num_parameters=7_038_529,
            takes_weights=True,
        ),
    )
}


def find(name: str) -> Architecture:
    """The architecture of that name; a user's file is looked at but not run.

    Raises:
        InputError: there is none; near names are suggested.
    """
    if is_own(name):
        return _of_own(read(name))
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
    known = f"known: {', '.join(ARCHITECTURES)}, or file.py:function for your own."
    raise InputError(f"there is no model {name!r}; {f'did you mean {near[0]}?' if near else known}")


def portable(name: str) -> str | OwnModel:
    """What stands for that name in any process of a cluster: a user's file travels as text.

    Raises:
        InputError: as `find`.
    """
    find(name)
    return read(name) if is_own(name) else name


def build(name: str | OwnModel, num_labels: int, *, weights: str | None = None) -> "keras.Model":
    """A new Keras model: (N, height, width, 1) uint8 in, scores out.

    Two labels give (N, 1), the probability of the positive class; more give
    (N, num_labels), probabilities that sum to 1. `weights`, for the architectures that take
    them, is a file of the backbone's weights or "imagenet"; None gives random ones.

    Raises:
        InputError: an unknown name, weights that it cannot take, or a user's model that does
            not keep to the above.
    """
    own = read(name) if isinstance(name, str) and is_own(name) else name
    if isinstance(own, OwnModel):
        _check_weights(_of_own(own), weights)
        import_keras()
        return own.build(num_labels)
    architecture = find(own)
    _check_weights(architecture, weights)
    import_keras()
    from cnnjobs.models import backbones, cnn

    size = architecture.height, architecture.width
    if architecture.takes_weights:
        return backbones.build(architecture.name, *size, num_labels, weights)
    builders = {"covid": cnn.covid, "covid-gap": cnn.covid_gap, "digits": cnn.digits}
    return builders[architecture.name](*size, num_labels)


def describe(name: str | OwnModel, num_labels: int) -> Architecture:
    """The architecture with its numbers for `num_labels` classes, found by building it.

    Imports Keras and runs a user's file: for a worker, not for the command line.

    Raises:
        InputError: as `build`.
    """
    known = _of_own(name) if isinstance(name, OwnModel) else find(name)
    model = build(name, num_labels)
    _, height, width, _ = model.input_shape
    return dataclasses.replace(
        known,
        height=height,
        width=width,
        num_labels=num_labels,
        num_parameters=model.count_params(),
    )


def _of_own(own: OwnModel) -> Architecture:
    return Architecture(
        name=own.name,
        summary=f"function {own.function} of {own.file_name}",
        height=0,
        width=0,
        num_labels=0,
        num_parameters=0,
    )


def _check_weights(architecture: Architecture, weights: str | None) -> None:
    if weights is None or architecture.takes_weights:
        return
    takers = [known.name for known in ARCHITECTURES.values() if known.takes_weights]
    raise InputError(
        f"model {architecture.name} takes no weights, got {weights!r}; "
        f"these do: {', '.join(takers)}."
    )
