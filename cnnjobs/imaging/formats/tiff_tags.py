"""The directories of a TIFF or BigTIFF, and which of them is the image."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError

#: A typical image has about 15.
_MAX_TAGS = 1000

#: Directories that are looked at where the first is a thumbnail.
_MAX_DIRECTORIES = 100

#: Bytes per number by field type; only the numerator of a fraction (5) is ever needed.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}

#: Kind of image, new and old, and directories below one (TIFF 6.0, section 8; supplement 1).
_KIND, _OLD_KIND, _BELOW = 254, 255, 330

#: Bits of the new kind: of reduced resolution, and a mask; the old kind of reduced resolution.
_REDUCED_OR_MASK, _OLD_REDUCED = 1 | 4, 2


class Directory(NamedTuple):
    """Numbers by tag, the byte order in NumPy's notation, and where the next one starts, or 0."""

    tags: dict[int, NDArray[Any]]
    order: str
    following: int

    def first(self, tag: int, otherwise: int) -> int:
        """The first number of a tag."""
        return int(self.tags[tag][0]) if tag in self.tags else otherwise

    @property
    def is_image(self) -> bool:
        """Whether it is neither of reduced resolution nor a mask, as far as it says."""
        is_reduced = self.first(_OLD_KIND, 1) == _OLD_REDUCED
        return not (self.first(_KIND, 0) & _REDUCED_OR_MASK or is_reduced)


def image(data: bytes) -> tuple[Directory, str | None]:
    """The first directory; if that is a thumbnail, the first of full resolution, and a warning.

    Raises:
        ImageError: as `read`, of one of the directories up to the chosen one.
    """
    first = read(data)
    if not first.is_image:
        for other in _others(data, first):
            if other.is_image:
                return other, "the page of full resolution, of several pages"
    return first, "the first of several pages" if first.following else None


def _others(data: bytes, first: Directory) -> Iterator[Directory]:
    """The directories below the first, those after it, and below these."""
    starts, seen = [*_below(first), first.following], {0}
    while starts and len(seen) <= _MAX_DIRECTORIES:
        start = starts.pop(0)
        if start not in seen:
            seen.add(start)
            directory = read(data, start)
            yield directory
            starts += [*_below(directory), directory.following]


def _below(directory: Directory) -> list[int]:
    starts: list[int] = directory.tags.get(_BELOW, np.zeros(0))[:_MAX_DIRECTORIES].tolist()
    return starts


def read(data: bytes, start: int | None = None) -> Directory:
    """The directory at `start`, or else the first one.

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

    if start is None:
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
    return Directory(tags, order, int(numbers(field, end)[0]))
