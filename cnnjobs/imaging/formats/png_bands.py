"""Large PNGs: decoded band by band, so that only gray pixels are ever there as a whole.

The filter of a row refers to the row above (ISO/IEC 15948, clause 9). So OpenCV decodes each band
as an image of its own, which begins with the last row of the band above, unfiltered.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import BAND_BYTES, Gray, opencv, png_stored
from cnnjobs.imaging.formats.streams import Stream

#: Depth and color type whose samples are the bytes of a pixel, by their number.
_TYPES = {1: (8, 0), 2: (16, 0), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}

#: Color types whose samples become gray without their palette.
_DIRECT = (0, 2, 6)

#: First column and row, and steps, of the passes of an image.
Pass = tuple[int, int, int, int]


def read(
    header: bytes,
    before: Sequence[bytes | memoryview],
    inflated: Iterable[bytes],
    passes: Sequence[Pass],
    *,
    band_bytes: int = BAND_BYTES,
) -> Gray:
    """Gray pixels, as `opencv.gray` gives them of the whole file.

    Args:
        header: the body of the IHDR chunk.
        before: the palette and the transparent colors, as whole chunks.
        inflated: the pixels, in parts of any size.
        passes: each is an image of its own, one after another.
        band_bytes: inflated bytes of a band.

    Raises:
        ImageError: there are too few pixels, or they cannot be decoded.
    """
    width, height, depth, color = struct.unpack_from(">IIBB", header)
    stream = Stream(inflated)
    whole = np.zeros((height, width), np.uint16 if depth == 16 else np.uint8)
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            part, done = whole[top::step_y, left::step_x], 0
            # the number of a row's filter precedes it
            row = 1 + (columns * depth * png_stored.SAMPLES[color] + 7) // 8
            step = max(1, band_bytes // row)
            parts = [min(step, rows - start) for start in range(0, rows, step)]
            for band in _bands(stream, before, columns, parts, depth, color):
                part[done : done + len(band)] = band
                done += len(band)
    # runs the check of the stream's end; what follows the pixels is ignored, as libpng does
    stream.read(1)
    return whole


def _bands(
    stream: Stream,
    before: Sequence[bytes | memoryview],
    columns: int,
    bands: Sequence[int],
    depth: int,
    color: int,
) -> Iterator[Gray]:
    """The rows of one pass, gray, in bands of so many rows."""
    bits = depth * png_stored.SAMPLES[color]
    size, pixel = (columns * bits + 7) // 8, max(1, bits // 8)
    is_direct = color in _DIRECT and depth >= 8 and not before
    above = b""
    for number in bands:
        filtered = stream.read(number * (size + 1))
        if len(filtered) < number * (size + 1):
            raise ImageError("damaged", "the PNG has fewer pixels than its header says")
        png_stored.check_filters(filtered[:: size + 1])
        first = b"\0" + above if above else b""
        height = number + bool(above)
        header = _header(size // pixel, height, *_TYPES[pixel])
        samples = opencv.unchanged(png_stored.file(header, [], first + filtered))[-number:]
        above = _stored(samples[-1:]).tobytes()
        if is_direct:
            yield samples if samples.ndim == 2 else opencv.luma(samples, cv2.COLOR_BGR2GRAY)
            continue
        unfiltered = np.pad(_stored(samples), ((0, 0), (1, 0)))
        header = _header(columns, number, depth, color)
        yield opencv.gray(png_stored.file(header, before, unfiltered.tobytes()))


def _header(width: int, height: int, depth: int, color: int) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)


def _stored(samples: Gray) -> NDArray[np.uint8]:
    """OpenCV's samples as the bytes of a PNG's rows: RGB, the high byte first."""
    if samples.ndim == 3:
        samples = samples[:, :, [2, 1, 0, 3][: samples.shape[2]]]
    stored = np.ascontiguousarray(samples, samples.dtype.newbyteorder(">"))
    return stored.reshape(len(samples), -1).view(np.uint8)
