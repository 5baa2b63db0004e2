"""The one place where OpenCV decodes: gray pixels blended with black, or an ImageError."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import Gray, by_bands

# the bad files of an archive are rows with an error; lines on stderr would only fill a log
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def gray(data: bytes) -> Gray:
    """Gray pixels as stored: color becomes luma, transparent pixels are blended with black.

    IMREAD_GRAYSCALE is not used: libpng's luma depends on the gamma stated by the file, and alpha
    would be dropped.
    """
    image = unchanged(data)
    return image if image.ndim == 2 else luma(image, cv2.COLOR_BGR2GRAY)


def unchanged(data: bytes) -> Gray:
    """The samples as stored, the colors in OpenCV's order: blue, green, red, alpha."""
    with _refusals():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if not isinstance(image, np.ndarray) or image.size == 0:
        raise ImageError("damaged", "it cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError("unsupported", f"{image.dtype} pixels have no defined gray range")
    return cast("Gray", image)


def luma(image: NDArray[Any], order: int = cv2.COLOR_RGB2GRAY) -> Gray:
    """Luma (ITU-R BT.601) of (height, width, 3 or 4) samples; alpha is blended with black."""
    return by_bands(lambda band: _luma(band, order), image)


def _luma(image: NDArray[Any], order: int) -> Gray:
    gray = cast("Gray", cv2.cvtColor(image[:, :, :3], order))
    if image.shape[2] < 4:
        return gray
    return over_black(gray, image[:, :, 3] / np.iinfo(image.dtype).max)


def over_black(gray: Gray, opacity: NDArray[np.float64]) -> Gray:
    """Gray pixels of an opacity from 0 to 1, blended with black."""
    return cast("Gray", np.rint(gray * opacity).astype(gray.dtype))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise ImageError("damaged", "it cannot be decoded") from error
