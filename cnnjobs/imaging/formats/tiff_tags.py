"""The first directory of a TIFF or BigTIFF."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError

#: A typical image has about 15.
_MAX_TAGS = 1000

#: Bytes per number by field type; only the numerator of a fraction (5) is ever needed.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8}


def read(data: bytes) -> tuple[dict[int, NDArray[Any]], str, bool]:
    """Numbers by tag, the byte order in NumPy's notation, and whether another directory follows.

    Raises:
        ImageError: a number lies beyond the end of the file, or there are too many tags.
    """
    order = "<" if data.startswith(b"II") else ">"
    # bytes of an offset, and of the number of tags
    field, count = (4, 2) if data[2:4] in (b"*\0", b"\0*") else (8, 8)

    def numbers(size: int, start: int, number: int = 1) -> NDArray[Any]:
        if start + number * size > len(data):
            raise ImageError("truncated", "the TIFF ends before its directory")
        return np.frombuffer(data, f"{order}u{size}", number, start)

    start = int(numbers(field, field)[0])
    num_tags = int(numbers(count, start)[0])
    if num_tags > _MAX_TAGS:
        raise ImageError("unsupported", f"a TIFF of {num_tags} tags, {_MAX_TAGS} are allowed")
    first, size = start + count, 4 + 2 * field
    end = first + num_tags * size
    tags: dict[int, NDArray[Any]] = {}
    for entry in range(first, end, size):
        tag, kind = numbers(2, entry, 2).tolist()
        number, value = int(numbers(field, entry + 4)[0]), entry + 4 + field
        if kind in _SIZES and number and tag not in tags:
            if number * _SIZES[kind] > field:
                value = int(numbers(field, value)[0])
            tags[tag] = numbers(_SIZES[kind], value, number)
    return tags, order, bool(numbers(field, end)[0])
