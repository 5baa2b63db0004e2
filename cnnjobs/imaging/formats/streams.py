"""Bytes that are produced piece by piece: of a large image, never all at once."""

import zlib
from collections.abc import Iterable, Iterator

#: Compressed bytes inflated at once, which become at most a thousand times as many.
_PIECE = 1 << 14


class Stream:
    """Reads any number of bytes from parts of any size."""

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        self._parts = iter(parts)
        self._rest = b""

    def read(self, number: int) -> bytes:
        """So many bytes; fewer where they end."""
        received = len(self._rest)
        parts: list[bytes | memoryview] = [self._rest]
        while received < number and (part := next(self._parts, None)) is not None:
            parts.append(part)
            received += len(part)
        joined = b"".join(parts)
        self._rest = joined[number:]
        return joined[:number]


def pieces(data: bytes | memoryview, size: int = _PIECE) -> Iterator[memoryview]:
    """The data cut into pieces."""
    view = memoryview(data)
    return (view[start : start + size] for start in range(0, len(view), size))


def inflated(chunk: bytes) -> Iterator[bytes]:
    """A zlib stream, inflated; raises zlib.error where it is broken or has no end."""
    inflater = zlib.decompressobj()
    for piece in pieces(chunk):
        yield inflater.decompress(piece)
        if inflater.eof:
            return
    raise zlib.error("it has no end")
