"""The table of architectures: find, describe and build them."""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnjobs.errors import InputError
from cnnjobs.models.keras_applications import APPLICATIONS
from cnnjobs.models.keras_backend import import_keras
from cnnjobs.models.user_model import UserModel, is_user_model, read

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What is known about an architecture without importing Keras.

    `num_parameters` is the count for `num_labels` classes, and `min_side` the smallest height and
    width that a backbone can be built for. With `square`, it sees the central square of an image.
    The sizes of a user's own model are 0
    until `describe` has built it.
    """

    name: str
    summary: str
    height: int
    width: int
    num_labels: int
    num_parameters: int
    takes_weights: bool = False
    min_side: int | None = None
    square: bool = False

    @property
    def is_described(self) -> bool:
        """Whether the sizes are known; if not, `describe` finds them."""
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
        *(
            Architecture(
                name=name,
                summary=f"{known.maker}, average pooling, dropout, sigmoid",
                height=known.side,
                width=known.side,
                num_labels=2,
                num_parameters=known.num_parameters,
                takes_weights=True,
                min_side=known.family.min_side,
                square=known.family.square,
            )
            for name, known in APPLICATIONS.items()
        ),
    )
}


def find(name: str) -> Architecture:
    """The architecture with this name; a user's file is parsed but not run.

    Raises:
        InputError: no architecture has this name; similar names are suggested.
    """
    if is_user_model(name):
        return _of_user(read(name))
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    similar = difflib.get_close_matches(name, ARCHITECTURES, n=1)
    known = "`cnnjobs models` lists them, and your own is file.py:function."
    hint = f"did you mean {similar[0]}?" if similar else known
    raise InputError(f"there is no model {name!r}; {hint}")


def portable(name: str) -> str | UserModel:
    """A form of the name that works in any process of a cluster: a user's file as its text.

    Raises:
        InputError: see `find`.
    """
    find(name)
    return read(name) if is_user_model(name) else name


def build(name: str | UserModel, num_labels: int, *, weights: str | None = None) -> "keras.Model":
    """A new Keras model: (N, height, width, 1) uint8 in, probabilities out.

    For two labels the output is (N, 1), the probability of the positive class; for more it is
    (N, num_labels), and rows sum to 1. `weights`, for architectures that take them, is a file
    with the weights of the backbone, or "imagenet"; None initializes them at random.

    Raises:
        InputError: an unknown name, weights that the architecture cannot take, or a user's
            model with other inputs or outputs.
    """
    model = read(name) if isinstance(name, str) and is_user_model(name) else name
    if isinstance(model, UserModel):
        _check_weights(_of_user(model), weights)
        import_keras()
        return model.build(num_labels)
    architecture = find(model)
    _check_weights(architecture, weights)
    import_keras()
    from cnnjobs.models import backbones, cnn

    size = architecture.height, architecture.width
    if architecture.takes_weights:
        return backbones.build(architecture.name, *size, num_labels, weights)
    builders = {"covid": cnn.covid, "covid-gap": cnn.covid_gap, "digits": cnn.digits}
    return builders[architecture.name](*size, num_labels)


def describe(name: str | UserModel, num_labels: int) -> Architecture:
    """The architecture with its sizes for `num_labels` classes, found by building it.

    Imports Keras and runs a user's file: call it in a worker, not in the command line.

    Raises:
        InputError: see `build`.
    """
    known = _of_user(name) if isinstance(name, UserModel) else find(name)
    model = build(name, num_labels)
    _, height, width, _ = model.input_shape
    return dataclasses.replace(
        known,
        height=height,
        width=width,
        num_labels=num_labels,
        num_parameters=model.count_params(),
    )


def _of_user(model: UserModel) -> Architecture:
    return Architecture(
        name=model.name,
        summary=f"function {model.function} in {model.file_name}",
        height=0,
        width=0,
        num_labels=0,
        num_parameters=0,
    )


def _check_weights(architecture: Architecture, weights: str | None) -> None:
    if weights is None or architecture.takes_weights:
        return
    raise InputError(
        f"model {architecture.name} takes no weights, got {weights!r}; the backbones of "
        "`cnnjobs models` do."
    )
