"""BMP: size and palette from its header, then Pillow."""

import io
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import (
    BAND_BYTES,
    LUMA,
    OVER_BLACK,
    Gray,
    Picture,
    check_size,
    opencv,
)

#: Length of the OS/2 1.x header, which stores sides in 16 bits.
_OLD_HEADER = 12

#: Compressions: none, run lengths of 8 and 4 bits, none with color masks.
_PLAIN, _MASKS = 0, 3
_STORED = {1: ", run lengths", 2: ", run lengths", _MASKS: ", color masks"}

#: Largest number of run-length encoded pixels, which Pillow decodes in Python: at most ten million
#: per second.
_MAX_RUNS = 1 << 24


class _Header(NamedTuple):
    """All bytes before the pixels, and what they say; a negative height is from top to bottom.

    `palette` holds the luma of 256 indices; None if pixels are colors.
    """

    stored: bytes
    width: int
    height: int
    bits: int
    compression: int
    palette: NDArray[np.uint8] | None


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a BMP.

    Raises:
        ImageError: too large, truncated, damaged or unsupported.
    """
    try:
        header, pixels = _header(data)
    except struct.error:
        raise ImageError("truncated", "the BMP ends in its header") from None
    width, height = header.width, abs(header.height)
    check_size(width, height, max_pixels)
    # rows are padded to four bytes
    row = (width * header.bits + 31) // 32 * 4
    # Pillow's pixels and a copy of them, of all rows or of a band
    needed = 8 * width * height
    is_plain = header.compression in (_PLAIN, _MASKS)
    if is_plain:
        if row * height > len(pixels):
            raise ImageError("truncated", f"the BMP lacks {row * height - len(pixels)} bytes")
    elif width * height > _MAX_RUNS:
        raise ImageError("unsupported", f"a compressed BMP of more than {_MAX_RUNS} pixels")
    is_large = needed > memory.SMALL and is_plain
    memory.take(2 * width * height if is_large else needed)
    gray, has_alpha = (_in_bands if is_large else _gray)(header, pixels)
    kind = f"BMP, {header.bits} bits{_STORED.get(header.compression, '')}"
    steps = kind, *((LUMA,) if header.bits > 1 else ()), *((OVER_BLACK,) if has_alpha else ())
    return Picture(gray, width, height, steps=steps)


def _header(data: bytes) -> tuple[_Header, memoryview]:
    """The header, and the bytes that follow where it says that pixels are.

    Pillow takes an index for a gray level where a palette is a ramp of gray, and mistakes the depth
    of the pixels if that has two levels, or the first sixteen. So it gets a palette of colors, and
    indices are looked up here.
    """
    offset, length = struct.unpack_from("<II", data, 10)
    is_old = length == _OLD_HEADER
    form = "<HHxxH" if is_old else "<iixxHI16xI"
    width, height, bits, *more = struct.unpack_from(form, data, 18)
    compression, number = more or (_PLAIN, 0)
    if bits not in (1, 4, 8):
        header = _Header(data[:offset], width, height, bits, compression, None)
        return header, memoryview(data)[offset:]
    start, size = 14 + length, 3 if is_old else 4
    number = min(number or 1 << bits, 1 << bits)
    if offset == start:  # as some writers say that leave out the palette's length
        offset += size * number
    table = np.frombuffer(data[start : start + size * number].ljust(size * 256, b"\0"), np.uint8)
    colors = table[: size * 256].reshape(1, 256, size)[:, :, 2::-1]
    palette = opencv.luma(np.ascontiguousarray(colors))[0].astype(np.uint8)
    stored = bytearray(data[:start]) + bytes([1, 0, 0, 0][:size]) * (1 << bits)
    struct.pack_into("<I", stored, 10, len(stored))
    if not is_old:
        struct.pack_into("<I", stored, 46, 0)
    header = _Header(bytes(stored), width, height, bits, compression, palette)
    return header, memoryview(data)[offset:]


def _in_bands(header: _Header, pixels: memoryview) -> tuple[Gray, bool]:
    """Gray pixels of many rows, decoded as images of fewer rows, and whether there is alpha."""
    height, width, has_alpha = abs(header.height), header.width, False
    row = (width * header.bits + 31) // 32 * 4
    whole = np.empty((height, width), np.uint8)
    # rows are stored from bottom to top unless the height is negative
    stored = whole if header.height < 0 else whole[::-1]
    start, form = (20, "<H") if header.stored[14] == _OLD_HEADER else (22, "<i")
    step = max(1, BAND_BYTES // (4 * width))
    for top in range(0, height, step):
        number = min(step, height - top)
        changed = bytearray(header.stored)
        struct.pack_into(form, changed, start, -number if header.height < 0 else number)
        band = header._replace(stored=bytes(changed))
        gray, has_alpha = _gray(band, pixels[top * row : (top + number) * row])
        stored[top : top + number] = gray if header.height < 0 else gray[::-1]
    return whole, has_alpha


def _gray(header: _Header, pixels: memoryview) -> tuple[Gray, bool]:
    """Luma, with transparent pixels blended with black, and whether there is alpha."""
    image: Image.Image
    try:
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(header.stored + pixels))
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        if str(error).startswith("Unsupported"):
            reason = "a BMP of a depth, compression or color masks that are not supported"
            raise ImageError("unsupported", reason) from error
        raise ImageError("damaged", "the BMP's pixels end too early") from error
    samples = np.asarray(image)
    if header.palette is not None:
        return header.palette[samples], False
    return opencv.luma(samples), image.mode == "RGBA"
