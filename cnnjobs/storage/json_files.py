"""JSON: written strictly, and read from files that nobody vouches for."""

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: Largest JSON file that is read: `run.json` of 10 million images in parts of 64 has about 10 MB.
MAX_BYTES = 256 << 20


def text(value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> str:
    """A value as JSON that every reader takes (RFC 8259): NaN and infinity become null.

    Dataclasses become objects and times their ISO form; anything else unknown becomes its text.

    Args:
        value: to be written.
        indent: spaces per level; None for a single line.
        sort_keys: whether to sort the keys of objects.
    """
    return json.dumps(
        _finite(value), indent=indent, sort_keys=sort_keys, default=_plain, allow_nan=False
    )


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _finite(value: Any) -> Any:
    """The value with None for every float that JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
