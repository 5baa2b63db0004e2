"""What a bundle from elsewhere may contain: checked before anything is allocated for it."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnjobs.storage import json_files

#: Largest sides and number of labels that a bundle may state: far more than any X-ray model has.
MAX_SIDE = 8192
MAX_LABELS = 10_000

#: Largest number of pixels that OpenCV accepts.
_MAX_PIXELS = 1 << 30
_MAX_TILES = 256

#: Files in `model.keras`: Keras writes three, and one per asset.
_MAX_PARTS = 1000

#: Largest integer in a model's architecture: units, filters, sides.
_MAX_UNITS = 1 << 22


def description_problem(content: Mapping[str, Any]) -> str | None:
    """What is wrong with the values of `bundle.json`, in words; None if nothing is.

    A key that is missing is left for the caller.
    """
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return "labels must be a list of names"
    if not 2 <= len(set(labels)) == len(labels) <= MAX_LABELS:
        return f"labels must be 2 to {MAX_LABELS} different names, got {len(labels)}"
    positive = content.get("positive")
    if (positive is None) is (len(labels) == 2) or positive not in (None, *labels):
        return "positive must be one of two labels, and null for more"
    if not _is_number(content.get("threshold")) or content["threshold"] < 0:
        return "threshold must be a number of at least 0"
    if not _is_number(content.get("temperature", 1.0)) or content.get("temperature", 1.0) <= 0:
        return "temperature must be a number above 0"
    for name in ("architecture", "fingerprint", "model_sha256", "manifest_fingerprint", "created"):
        if not isinstance(content.get(name, ""), str):
            return f"{name} must be text"
    for name in ("metrics", "versions"):
        if not isinstance(content.get(name, {}), dict):
            return f"{name} must be a table"
    return _preprocessing_problem(content.get("preprocessing"))


def _preprocessing_problem(values: Any) -> str | None:
    if not isinstance(values, dict):
        return "preprocessing must be a table"
    for name, most in (
        ("height", MAX_SIDE),
        ("width", MAX_SIDE),
        ("max_pixels", _MAX_PIXELS),
        ("tiles", _MAX_TILES),
    ):
        value = values.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            return f"{name} must be a whole number from 1 to {most}"
    for name in ("crop", "mask_corners", "clip_limit"):
        if not _is_number(values.get(name, 1.0)):
            return f"{name} must be a number"
    for name in ("scaled_jpeg", "equalize"):
        if not isinstance(values.get(name, False), bool):
            return f"{name} must be true or false"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def archive_problem(file: Path) -> str | None:
    """What is wrong with a `model.keras` before Keras opens it; None if nothing is.

    Keras stores its parts uncompressed, so nothing in it is larger than the file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if len(parts) > _MAX_PARTS:
                return f"it has {len(parts)} files, {_MAX_PARTS} are allowed"
            size = sum(part.file_size for part in parts)
            if size > 2 * file.stat().st_size + json_files.MAX_BYTES // 4:
                return f"its files have {size} bytes, and it has {file.stat().st_size}"
            names = [part.filename for part in parts]
            if any(name.startswith("/") or ".." in name.split("/") for name in names):
                return "a file in it has a name that leads out of it"
            config = json_files.parsed(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RuntimeError):
        return None  # Keras refuses it
    largest = _largest_size(config)
    if largest > _MAX_UNITS:
        return f"one of its layers has a size of {largest}, {_MAX_UNITS} are allowed"
    return None


def _largest_size(config: Any) -> int:
    """The largest integer in a model's architecture that is neither a seed nor an id."""
    largest, left = 0, [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [item for key, item in value.items() if not key.endswith(("seed", "_id"))]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int):
            largest = max(largest, value)
    return largest
