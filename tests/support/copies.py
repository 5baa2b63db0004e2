"""What happens to images on their way between archives."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def _cropped(image: Pixels, share: float) -> Pixels:
    """The image without `share` of its height and width at each side."""
    height, width = image.shape
    rows, columns = round(share * height), round(share * width)
    return image[rows : height - rows, columns : width - columns]


def _bordered(image: Pixels, share: float) -> Pixels:
    height, width = image.shape
    rows, columns = round(share * height), round(share * width)
    return np.pad(image, ((rows, rows), (columns, columns)))


def _halved(image: Pixels) -> Pixels:
    halved = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(halved, np.uint8)


def _as_jpeg(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


#: Changes after which an image is still recognized.
COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "inverted": lambda image: 255 - image,
    "JPEG of quality 50": lambda image: _as_jpeg(image, 50),
    "halved": _halved,
    "cropped by 2%": lambda image: _cropped(image, 0.02),
    "cropped by 3%": lambda image: _cropped(image, 0.03),
    "cropped by 5%": lambda image: _cropped(image, 0.05),
    "cropped by 8%": lambda image: _cropped(image, 0.08),
    "cropped by 5% and inverted": lambda image: 255 - _cropped(image, 0.05),
    "in a black border of 5%": lambda image: _bordered(image, 0.05),
    "cropped by 5% and halved": lambda image: _halved(_cropped(image, 0.05)),
}
