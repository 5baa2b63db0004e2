"""Small files that would take much memory or time, and large ones that are legal."""

import struct
import zlib

from tests.support import image_files
from tests.support.image_files import chunk


def zeros(number, *, level=9):
    """Return a zlib stream of so many zeros, without ever holding them."""
    deflater = zlib.compressobj(level)
    sizes = (min(1 << 20, number - start) for start in range(0, number, 1 << 20))
    parts = [deflater.compress(bytes(size)) for size in sizes]
    return b"".join([*parts, deflater.flush()])


def png_of_zeros(width, height, *, depth=8, color=image_files.GRAY, interlaced=False, extra=0):
    """Return a black PNG; `extra` bytes of pixels follow its last row."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    size = height * (1 + (width * bits + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(3 * 2**depth)) if color == image_files.PALETTE else b""
    pixels = zeros(size + extra)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND")
    )
