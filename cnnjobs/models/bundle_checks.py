"""What a bundle from elsewhere may contain: checked before anything is allocated for it."""

import math
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
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

#: Largest product of a shape in it.
_MAX_VALUES = 1 << 28

#: Characters of a name or version.
_MAX_TEXT = 1000

_HEX = {"fingerprint": 16, "model_sha256": 64}


def description_problem(content: Mapping[str, Any]) -> str | None:
    """What is wrong with the values of `bundle.json`, in words; None if nothing is.

    A key that is missing or unknown is left for the caller.
    """
    unknown = {"uri", "parts", "is_sealed", "variant"} & set(content)
    if unknown:
        return f"{unknown.pop()} is not stored"
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return "labels must be a list of names"
    if not all(0 < len(label) <= _MAX_TEXT for label in labels):
        return f"labels must have 1 to {_MAX_TEXT} characters"
    if not 2 <= len(set(labels)) == len(labels) <= MAX_LABELS:
        return f"labels must be 2 to {MAX_LABELS} different names, got {len(labels)}"
    positive = content.get("positive")
    if (positive is None) is (len(labels) == 2) or positive not in (None, *labels):
        return "positive must be one of two labels, and null for more"
    if not _is_number(content.get("threshold")) or content["threshold"] < 0:
        return "threshold must be a number of at least 0"
    if not _is_number(content.get("temperature", 1.0)) or content.get("temperature", 1.0) <= 0:
        return "temperature must be a number above 0"
    for name, digits in _HEX.items():
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", str(content.get(name, "0" * digits))):
            return f"{name} must be {digits} hex digits"
    for name in ("architecture", "manifest_fingerprint", "created"):
        if not _is_text(content.get(name, "")):
            return f"{name} must be text of at most {_MAX_TEXT} characters"
    for name, is_value, kind in (
        ("metrics", _is_measure, "numbers"),
        ("versions", _is_text, "texts"),
    ):
        values = content.get(name, {})
        if not isinstance(values, dict) or not all(map(is_value, values.values())):
            return f"{name} must be a table of {kind}"
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
    for name in ("scaled_jpeg", "equalize", "square"):
        if not isinstance(values.get(name, False), bool):
            return f"{name} must be true or false"
    return None


def _is_number(value: Any) -> bool:
    # JSON has integers that no float can hold
    is_kind = isinstance(value, int | float) and not isinstance(value, bool)
    return is_kind and -sys.float_info.max <= value <= sys.float_info.max


def _is_measure(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


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
    values = _largest_shape(config)
    if values > _MAX_VALUES:
        return f"one of its layers takes {values} values per image, {_MAX_VALUES} are allowed"
    return None


def _largest_size(config: Any) -> int:
    """The largest integer in a model's architecture that is neither a seed nor an id."""
    return max((value for value in _values(config) if isinstance(value, int)), default=0)


def _largest_shape(config: Any) -> int:
    """The largest number of values that a shape in a model's architecture stands for."""
    lists = (value for value in _values(config) if isinstance(value, list))
    sides = ([side for side in each if isinstance(side, int)] for each in lists)
    # the sides of hostile ones are bounded, their number is not
    return max((math.prod(each[:8]) for each in sides), default=0)


def _values(config: Any) -> Iterator[Any]:
    """Every list and plain value in a model's architecture, except for seeds and ids."""
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [item for key, item in value.items() if not key.endswith(("seed", "_id"))]
            continue
        yield value
        if isinstance(value, list):
            left += value
