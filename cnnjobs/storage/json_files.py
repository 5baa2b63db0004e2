"""JSON from files that nobody vouches for."""

import json
from typing import Any

#: Largest JSON file that is read: `run.json` of 10 million images in parts of 64 has about 10 MB.
MAX_BYTES = 256 << 20


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
