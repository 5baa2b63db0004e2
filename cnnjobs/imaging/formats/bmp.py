"""BMP: its size by its header, then OpenCV."""

import struct

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import Picture, check_size, opencv

#: Length of the header of OS/2 1.x, whose sides have 16 bits.
_OLD_HEADER = 12


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a BMP.

    Raises:
        ImageError: too large, cut, or not to be decoded.
    """
    try:
        (offset, length) = struct.unpack_from("<II", data, 10)
        form = "<HHxxH" if length == _OLD_HEADER else "<iixxH"
        width, height, bits = struct.unpack_from(form, data, 18)
    except struct.error:
        raise ImageError("truncated", "the BMP ends in its header") from None
    check_size(abs(width), abs(height), max_pixels)
    compression = 0
    if length > _OLD_HEADER and len(data) >= 34:
        (compression,) = struct.unpack_from("<I", data, 30)
    # rows fill up to four bytes
    size = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if compression in (0, 3) and offset + size > len(data):
        raise ImageError("truncated", f"the BMP lacks {offset + size - len(data)} bytes")
    gray = opencv.gray(data)
    check_size(gray.shape[1], gray.shape[0], max_pixels)
    return Picture(gray, gray.shape[1], gray.shape[0])
