"""Figures as pixels."""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging.plots import to_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def decoded(figure: "Figure") -> NDArray[Any]:
    """The pixels (height, width, 3) of its PNG, blue first."""
    image = cv2.imdecode(np.frombuffer(to_bytes(figure), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def num_colored(image: NDArray[Any]) -> int:
    """Pixels of the curves and their bands; the rest is black, gray or white."""
    return int(np.sum(np.ptp(image.astype(int), axis=2) > 15))
