"""The one place where OpenCV decodes: gray pixels over black, or an ImageError."""

import contextlib
from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import TIFF, Gray

# an archive's bad files are rows with an error; their lines on stderr would only fill a log
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def gray(data: bytes) -> Gray:
    """Gray pixels as stored: color becomes luma, transparent pixels lie on black.

    Not with IMREAD_GRAYSCALE: libpng's luma depends on the gamma that a file states, and
    alpha would be dropped.
    """
    image = _decoded(data, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image
    luma = cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2GRAY)
    # libtiff lays 8-bit samples on black itself
    if image.shape[2] == 4 and not (data.startswith(TIFF) and image.dtype == np.uint8):
        opacity = image[:, :, 3] / np.iinfo(image.dtype).max
        luma = np.rint(luma * opacity).astype(image.dtype)
    return cast("Gray", luma)


def gray_jpeg(data: bytes) -> Gray:
    """Gray pixels of a JPEG as stored."""
    return _decoded(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def _decoded(data: bytes, flags: int) -> Gray:
    with _refusals():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if not isinstance(image, np.ndarray) or image.size == 0:
        raise ImageError("damaged", "OpenCV cannot decode it")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError("unsupported", f"{image.dtype} pixels have no defined gray range")
    return cast("Gray", image)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except cv2.error as error:
        reason = str(error.err or error).splitlines()[0]
        raise ImageError("damaged", f"OpenCV refuses it ({reason})") from error
