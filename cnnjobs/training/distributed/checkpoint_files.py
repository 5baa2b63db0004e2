"""The files of checkpoints, read and written without Keras.

Each is one `.npz` file (arrays only, no pickle) with, as JSON, the progress of the training.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnjobs.errors import TrainingError
from cnnjobs.storage import filesystem, json_files

LAST, BEST = "last.npz", "best.npz"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is: finished epochs, their history, the state of each callback."""

    epochs_done: int = 0
    history: Sequence[dict[str, float | None]] = ()
    stopped: bool = False
    best: float | None = None
    callbacks: Sequence[dict[str, Any]] = ()


def write(folder: str, name: str, arrays: Sequence[Any], state: dict[str, Any]) -> None:
    """Write one checkpoint."""
    named = {f"array_{number:04d}": array for number, array in enumerate(arrays)}
    buffer = io.BytesIO()
    data = json_files.text(state, indent=None).encode()
    np.savez(buffer, state=np.frombuffer(data, np.uint8), **named)
    filesystem.write_bytes(filesystem.join(folder, name), buffer.getvalue())


def read(folder: str, name: str) -> tuple[list[Any], dict[str, Any]]:
    """The arrays and the state of one checkpoint.

    Raises:
        FileNotFoundError: there is none.
        TrainingError: it is damaged.
    """
    data = filesystem.read_bytes(filesystem.join(folder, name))
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            state = json.loads(file["state"].tobytes())
            return [file[name] for name in sorted(file.files) if name != "state"], state
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{folder} contains a damaged checkpoint; train again.") from error


def progress(folder: str) -> Progress:
    """How far the training is; nothing without a checkpoint.

    Raises:
        TrainingError: the checkpoint is damaged.
    """
    try:
        return Progress(**read(folder, LAST)[1])
    except FileNotFoundError:
        return Progress()
