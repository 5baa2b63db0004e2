"""Architectures, and the bundle that a trained model travels in."""

from cnnjobs.models.architectures import (
    ARCHITECTURES,
    Architecture,
    build,
    describe,
    find,
    portable,
)
from cnnjobs.models.keras_backend import import_keras, quiet_tensorflow
from cnnjobs.models.user_model import OwnModel

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "OwnModel",
    "build",
    "describe",
    "find",
    "import_keras",
    "portable",
    "quiet_tensorflow",
]
