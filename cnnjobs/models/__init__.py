"""Architectures of models, and the bundle that a trained model is stored in."""

from cnnjobs.models.architectures import (
    ARCHITECTURES,
    Architecture,
    build,
    describe,
    find,
    portable,
)
from cnnjobs.models.keras_backend import import_keras, quiet_tensorflow
from cnnjobs.models.user_model import UserModel, is_user_model

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "UserModel",
    "build",
    "describe",
    "find",
    "import_keras",
    "is_user_model",
    "portable",
    "quiet_tensorflow",
]
