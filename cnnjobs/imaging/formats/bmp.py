"""BMP: the size from its header, then Pillow."""

import io
import struct

import numpy as np
from PIL import BmpImagePlugin, Image

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import Gray, Picture, check_size, opencv

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
    end = offset + (width * bits + 31) // 32 * 4 * abs(height)
    if compression in ([], [0], [3]):
        if end > len(data):
            raise ImageError("truncated", f"the BMP lacks {end - len(data)} bytes")
    elif width * abs(height) > _MAX_RUNS:
        raise ImageError("unsupported", f"a compressed BMP of more than {_MAX_RUNS} pixels")
    gray = _gray(BmpImagePlugin.BmpImageFile(io.BytesIO(data)))
    return Picture(gray, gray.shape[1], gray.shape[0])


def _gray(image: Image.Image) -> Gray:
    """Color becomes luma; transparent pixels are blended with black."""
    if image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else opencv.luma(pixels)
