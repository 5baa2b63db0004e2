"""Images as small as a page can carry them, read as a job reads them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.imaging.reading import Policy
from cnnjobs.reporting.blocks import data_uri

#: Pixels of the longer side, in the gallery and in the dialog.
THUMBNAIL_SIDE, LARGE_SIDE = 128, 512

#: Of WebP, 0 to 100: half the bytes of 90, and a third less than JPEG's 60, on the tour's X-rays.
_QUALITY = 80

_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image as `data:` URIs, or the reason why there are none."""

    thumbnail: str | None = None
    large: str | None = None
    error: str | None = None


def read(
    rows: Sequence[Mapping[str, Any]], policy: Policy, *, num_pixels: int | None
) -> Iterator[Picture]:
    """A picture a row, in order, decoded on every core.

    Args:
        rows: `path`, `width`, `height`, `error`, and `is_large` where the dialog has more
            than the thumbnail.
        policy: of the job that scored them.
        num_pixels: above which an image is not decoded; None for the decoder's own limit.
    """
    limit = num_pixels or Preprocessing.max_pixels
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            yield from pool.map(lambda row: _picture(row, policy, limit), part)


def encoded(pixels: NDArray[np.uint8], quality: int = _QUALITY) -> str:
    """Pixels, gray or RGB, as the URI of a WebP file."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return data_uri("image/webp", data.tobytes())


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """The size of an image whose longer side is at most `side`."""
    share = side / max(height, width, side)
    return max(1, round(height * share)), max(1, round(width * share))


def _picture(row: Mapping[str, Any], policy: Policy, max_pixels: int) -> Picture:
    if row["error"] is not None:
        return Picture(error=row["error"])
    side = LARGE_SIDE if row["is_large"] else THUMBNAIL_SIDE
    height, width = fitted(row["height"], row["width"], side)
    wanted = Preprocessing(height=height, width=width, max_pixels=max_pixels, scaled_jpeg=True)
    try:
        read = reading.decoded(reading.read_image(row["path"]), wanted, policy)
    except ImageError as error:
        read = error
    if isinstance(read, ImageError):
        return Picture(error=str(read))
    pixels = read.pixels[:, :, 0]
    height, width = fitted(height, width, THUMBNAIL_SIDE)
    small = np.ascontiguousarray(preprocessing.resize(pixels, height=height, width=width), np.uint8)
    return Picture(thumbnail=encoded(small), large=encoded(pixels) if row["is_large"] else None)
