"""Writes PNGs whose pixels are stored uncompressed, for OpenCV to read."""

import struct
from collections.abc import Sequence

from isal import isal_zlib

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import PNG

#: Samples per pixel by color type: gray, RGB, palette, gray and alpha, RGBA.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: Most bytes in a stored block of DEFLATE (RFC 1951, 3.2.4).
_STORED = 0xFFFF

#: The largest number of a row's filter.
_MAX_FILTER = 4

_Bytes = bytes | memoryview


def file(header: bytes, before: Sequence[_Bytes], pixels: bytes) -> bytes:
    """A file of one image.

    Args:
        header: the body of its IHDR chunk.
        before: whole chunks that stand before the pixels.
        pixels: all rows, each preceded by the number of its filter.
    """
    parts = [*_parts(b"IHDR", [header]), *before, *_parts(b"IDAT", _zlib(pixels))]
    return b"".join([PNG, *parts, *_parts(b"IEND", [])])


def chunk(kind: bytes, body: bytes) -> bytes:
    """A whole chunk: its length, kind, body and checksum."""
    return b"".join(_parts(kind, [body]))


def check_filters(filters: bytes) -> None:
    """Raise ImageError if one of the filters is unknown, of which libpng would print a line."""
    if max(filters, default=0) > _MAX_FILTER:
        raise ImageError("damaged", "a row of the PNG has an unknown filter")


def _zlib(pixels: bytes) -> list[_Bytes]:
    """A zlib stream of uncompressed blocks (RFC 1950; RFC 1951, 3.2.4)."""
    view = memoryview(pixels)
    parts: list[_Bytes] = [b"\x78\x01"]
    for start in range(0, len(view), _STORED):
        block = view[start : start + _STORED]
        is_last = start + _STORED >= len(view)
        parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ _STORED), block]
    return [*parts, struct.pack(">I", isal_zlib.adler32(pixels))]


def _parts(kind: bytes, body: Sequence[_Bytes]) -> list[_Bytes]:
    checksum = isal_zlib.crc32(kind)
    for part in body:
        checksum = isal_zlib.crc32(part, checksum)
    length = sum(map(len, body))
    return [struct.pack(">I", length), kind, *body, struct.pack(">I", checksum)]
