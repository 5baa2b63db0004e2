"""BMP: the size from its header, then Pillow."""

import io
import struct

import numpy as np
from PIL import BmpImagePlugin, Image

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import BAND_BYTES, Gray, Picture, check_size, opencv

#: Length of the OS/2 1.x header, which stores sides in 16 bits.
_OLD_HEADER = 12

#: Largest number of run-length encoded pixels, which Pillow decodes in Python: at most ten million
#: per second.
_MAX_RUNS = 1 << 24


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a BMP.

    Raises:
        ImageError: too large or truncated.
    """
    try:
        (offset, length) = struct.unpack_from("<II", data, 10)
        form = "<HHxxH" if length == _OLD_HEADER else "<iixxHI"
        width, height, bits, *compression = struct.unpack_from(form, data, 18)
    except struct.error:
        raise ImageError("truncated", "the BMP ends in its header") from None
    check_size(width, abs(height), max_pixels)
    # uncompressed, perhaps with color masks: rows are padded to four bytes
    row = (width * bits + 31) // 32 * 4
    end = offset + row * abs(height)
    # Pillow's pixels and a copy of them, of all rows or of a band
    needed = 8 * width * abs(height)
    if compression in ([], [0], [3]):
        if end > len(data):
            raise ImageError("truncated", f"the BMP lacks {end - len(data)} bytes")
    elif width * abs(height) > _MAX_RUNS:
        raise ImageError("unsupported", f"a compressed BMP of more than {_MAX_RUNS} pixels")
    is_large = needed > memory.SMALL and compression in ([], [0], [3])
    memory.take(2 * width * abs(height) if is_large else needed)
    if is_large:
        gray = _in_bands(data[:offset], data[offset:end], width, height, row)
    else:
        gray = _gray(data)
    return Picture(gray, gray.shape[1], gray.shape[0])


def _in_bands(header: bytes, pixels: bytes, width: int, height: int, row: int) -> Gray:
    """Gray pixels of many rows, decoded as images of fewer rows."""
    whole = np.empty((abs(height), width), np.uint8)
    # rows are stored from bottom to top unless the height is negative
    stored = whole if height < 0 else whole[::-1]
    start, form = (20, "<H") if header[14] == _OLD_HEADER else (22, "<i")
    step = max(1, BAND_BYTES // (4 * width))
    for top in range(0, abs(height), step):
        number = min(step, abs(height) - top)
        changed = bytearray(header)
        struct.pack_into(form, changed, start, -number if height < 0 else number)
        gray = _gray(bytes(changed) + pixels[top * row : (top + number) * row])
        stored[top : top + number] = gray if height < 0 else gray[::-1]
    return whole


def _gray(data: bytes) -> Gray:
    """Color becomes luma; transparent pixels are blended with black."""
    image: Image.Image
    try:
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
        image.load()
    except (OSError, ValueError) as error:
        if str(error).startswith("Unsupported"):
            reason = "a BMP of a depth, compression, palette or color masks that are not supported"
            raise ImageError("unsupported", reason) from error
        raise ImageError("damaged", "the BMP's palette or pixels end too early") from error
    if image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else opencv.luma(pixels)
