"""A Keras model as one file: written without its optimizer, and opened in safe mode."""

import hashlib
import io
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from cnnjobs import models
from cnnjobs.errors import BundleError
from cnnjobs.models import bundle_checks
from cnnjobs.storage import json_files

if TYPE_CHECKING:
    import keras

_NAME, _METADATA = "model.keras", "metadata.json"

#: What Keras raises for files that it did not write.
REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError),
    # layers of other backends, of packages that are not installed, and damage
    *(ImportError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error),
)


def load(saved: bytes, name: str) -> "keras.Model":
    """The model, uncompiled, in safe mode: no code in the file is run, and no file is read.

    Args:
        saved: content of the file.
        name: of the file, for messages.

    Raises:
        BundleError: Keras refuses it, or it would take more than a model does.
    """
    saving = models.import_keras().saving
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _NAME
        file.write_bytes(saved)
        problem = bundle_checks.archive_problem(file)
        if problem is not None:
            raise BundleError(
                f"{name} is refused: {problem}; use a bundle that cnnjobs train wrote."
            )
        try:
            model: keras.Model = saving.load_model(file, compile=False, safe_mode=True)
        except REFUSALS as error:
            raise BundleError(
                f"{name} cannot be loaded in safe mode; use a bundle that cnnjobs train wrote."
            ) from error
    return model


def save(model: "keras.Model") -> bytes:
    """The model in Keras' format, without the optimizer, which would triple its size."""
    # clone_model would copy the optimizer
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _NAME
        bare.save(file)
        return _without_times(file)


def _without_times(file: Path) -> bytes:
    """The file without the times at which Keras wrote it and its parts, neither of which it reads.

    The same model is then the same file, and trainings that end alike have the same digest.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(file) as saved, zipfile.ZipFile(content, "w") as ours:
        for part in saved.infolist():
            data = saved.read(part)
            if part.filename == _METADATA:
                known = json_files.parsed(data)
                data = json_files.text({**known, "date_saved": None}, indent=None).encode()
            ours.writestr(zipfile.ZipInfo(part.filename), data)
    return content.getvalue()


def layers(model: "keras.Model") -> str:
    """The table of layers, 100 columns wide on any terminal."""
    lines: list[str] = []
    model.summary(line_length=100, print_fn=lines.append)
    return "\n".join(lines)


def fingerprint(model: "keras.Model", threshold: float, temperature: float) -> str:
    """16 hex digits that depend on the architecture, the weights and, if set, these two."""
    # get_config leaves out the compilation settings, which to_json includes
    config = json_files.text(model.get_config(), indent=None, sort_keys=True)
    digest = hashlib.sha256(config.encode())
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    if (threshold, temperature) != (0.5, 1.0):
        # they change predictions, so a run must not be resumed with other values
        digest.update(f"{threshold} {temperature}".encode())
    return digest.hexdigest()[:16]
