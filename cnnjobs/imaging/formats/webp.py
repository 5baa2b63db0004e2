"""WebP: complete by its RIFF chunks (RFC 9649), none too large, then OpenCV."""

import struct
from collections.abc import Iterator

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import LUMA, OVER_BLACK, Picture, check_size, opencv, orientation

#: Chunks of a file, those inside the frames of an animation counted apart.
_MAX_CHUNKS = 10_000


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a WebP, upright; the first image of an animation.

    Raises:
        ImageError: too large, truncated, or undecodable.
    """
    found: dict[bytes, memoryview] = {}
    animated = seen = alpha = False
    for kind, body in _chunks(memoryview(data), 12, end=8 + _number(data[4:8])):
        found.setdefault(kind, body)
        alpha = alpha or _has_alpha(kind, body)
        if kind == b"ANMF":
            animated = True
            for inner, its_body in _chunks(body, 16, end=len(body)):
                _check(inner, its_body, max_pixels)
        seen = _check(kind, body, max_pixels) or seen
    if not seen:
        raise ImageError("damaged", "the WebP has no image")
    try:
        gray = opencv.gray(data)
    except ImageError as error:
        raise ImageError("damaged", "the WebP's pixels cannot be decoded") from error
    check_size(gray.shape[1], gray.shape[0], max_pixels)
    turned = orientation.stated(bytes(found.get(b"EXIF", b"")), bytes(found.get(b"XMP ", b"")))
    gray = orientation.upright(gray, turned)
    warning = "the first image of an animation" if animated else None
    coding = "lossless" if b"VP8L" in found else "lossy" if b"VP8 " in found else "animated"
    steps = f"WebP, 8 bits, {coding}", LUMA, *((OVER_BLACK,) if alpha else ()), *turned.steps
    return Picture(gray, gray.shape[1], gray.shape[0], warning, steps=steps)


def color_and_exif(data: bytes) -> tuple[str, bytes]:
    """Whether a WebP that `read` accepts has alpha, and its EXIF block."""
    color, exif = "color", b""
    for kind, body in _chunks(memoryview(data), 12, end=8 + _number(data[4:8])):
        if kind == b"EXIF":
            exif = bytes(body)
        elif _has_alpha(kind, body):
            color = "color and alpha"
    return color, exif


def _chunks(data: memoryview, start: int, *, end: int) -> Iterator[tuple[bytes, memoryview]]:
    number = 0
    if end > len(data):
        raise ImageError("truncated", f"the WebP lacks {end - len(data)} bytes")
    while start + 8 <= end:
        length = _number(data[start + 4 : start + 8])
        if start + 8 + length > end:
            raise ImageError("damaged", "a WebP chunk is longer than the file")
        number += 1
        if number > _MAX_CHUNKS:
            raise ImageError("too large", f"a WebP of more than {_MAX_CHUNKS} chunks")
        yield bytes(data[start : start + 4]), data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2


def _check(kind: bytes, body: memoryview, max_pixels: int) -> bool:
    """Check the size that a chunk states; False if it states none."""
    try:
        if kind == b"VP8X":
            sides = _number(body[4:7]) + 1, _number(body[7:10]) + 1
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", body, 1)
            sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            sides = width & 0x3FFF, height & 0x3FFF
        else:
            return False
    except struct.error:
        raise ImageError("damaged", "a WebP chunk ends in its header") from None
    check_size(*sides, max_pixels)
    # libwebp's pixels, OpenCV's, and gray
    memory.take(9 * sides[0] * sides[1])
    return True


def _has_alpha(kind: bytes, body: memoryview) -> bool:
    """Whether a chunk says that there is alpha; one of no length says nothing."""
    if kind == b"VP8X":
        return bool(body[:1] and body[0] & 0x10)
    return kind == b"VP8L" and len(body) > 4 and bool(body[4] & 0x10)


def _number(little_endian: bytes | memoryview) -> int:
    return int.from_bytes(little_endian, "little")
