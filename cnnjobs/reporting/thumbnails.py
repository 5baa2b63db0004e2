"""Images small enough for a page, read the way jobs read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.decoder import read_many
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.imaging.reading import Policy
from cnnjobs.reporting.blocks import data_uri

#: Pixels of the longer side, in the gallery and in the dialog.
SMALL_SIDE, LARGE_SIDE = 128, 512

#: WebP quality, 0 to 100: half the bytes of 90, and a third fewer than JPEG at 60, on the demo's
#: X-rays.
_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """One image as `data:` URIs, or the reason why it could not be read."""

    small: str | None = None
    large: str | None = None
    error: str | None = None


def read(
    rows: Sequence[Mapping[str, Any]], policy: Policy, *, max_pixels: int | None
) -> Iterator[Thumbnail]:
    """One thumbnail per row, in order, decoded on every core.

    Args:
        rows: `path`, `width`, `height`, `error`, and `is_large` for an image in the dialog.
        policy: of the job that scored them.
        max_pixels: larger images are not decoded; None for the decoder's default.
    """
    limit = max_pixels or Preprocessing.max_pixels
    return read_many(rows, lambda row: _thumbnail(row, policy, limit))


def to_webp_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels, gray or RGB, as the URI of a WebP file."""
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return data_uri("image/webp", data.tobytes())


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """The size of an image shrunk until its longer side is at most `side`."""
    share = side / max(height, width, side)
    return max(1, round(height * share)), max(1, round(width * share))


def _thumbnail(row: Mapping[str, Any], policy: Policy, max_pixels: int) -> Thumbnail:
    if row["error"] is not None:
        return Thumbnail(error=row["error"])
    side = LARGE_SIDE if row["is_large"] else SMALL_SIDE
    height, width = fitted(row["height"], row["width"], side)
    size = Preprocessing(height=height, width=width, max_pixels=max_pixels, scaled_jpeg=True)
    decoded = reading.load(row["path"], size, policy)
    if isinstance(decoded, ImageError):
        return Thumbnail(error=str(decoded))
    pixels = decoded.pixels[:, :, 0]
    height, width = fitted(height, width, SMALL_SIDE)
    small = np.ascontiguousarray(preprocessing.resize(pixels, height=height, width=width), np.uint8)
    large = to_webp_uri(pixels) if row["is_large"] else None
    return Thumbnail(small=to_webp_uri(small), large=large)
