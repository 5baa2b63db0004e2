"""Gray levels and hashes of single images, for `inspect`."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.config import constants
from cnnjobs.errors import ImageError
from cnnjobs.imaging import depth, formats, headers, memory, perceptual_hash, preprocessing, reading
from cnnjobs.imaging.formats import Gray, Picture
from cnnjobs.imaging.headers import Header
from cnnjobs.imaging.preprocessing import Preprocessing

MAX_PIXELS, MAX_BYTES = Preprocessing.max_pixels, constants.MAX_BYTES

#: Pixels counted at once.
_COUNTED = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Gray levels of an image's pixels, as stored; `sd` is the population standard deviation."""

    min: int
    max: int
    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What is kept of one file among many; with an `error`, everything else is None or empty.

    `levels` and `histogram` (the shares of 256 gray levels) describe the pixels as 8 bits.
    """

    path: str
    error: str | None = None
    content_hash: str | None = None
    perceptual_hash: str | None = None
    format: str | None = None
    width: int = 0
    height: int = 0
    levels: Levels | None = None
    histogram: NDArray[np.float32] | None = None


def levels(gray: Gray) -> Levels:
    """Smallest, largest, mean and standard deviation of the pixels."""
    return _levels(_counts(gray))


@formats.guarded()
@memory.bounded()
def open_image(path: str, max_bytes: int = MAX_BYTES) -> tuple[Header, Picture, int]:
    """Header, pixels (of any modality) and size in bytes of one file.

    Raises:
        ImageError: it cannot be read.
    """
    data = reading.read_image(path, max_bytes)
    picture = preprocessing.read(data, max_pixels=MAX_PIXELS, any_modality=True)
    return headers.read(data), picture, len(data)


def measure(path: str, max_bytes: int = MAX_BYTES) -> Measurements:
    """Measure one file; what is wrong with it is its `error`.

    Raises:
        SourceError: it cannot be read by a fault that is not its own.
    """
    try:
        return _measured(path, max_bytes)
    except ImageError as error:
        reading.raise_if_of_source(path, error)
        return Measurements(path=path, error=str(error))


@formats.guarded()
@memory.bounded()
def _measured(path: str, max_bytes: int) -> Measurements:
    data = reading.read_image(path, max_bytes)
    picture = depth.settled(preprocessing.read(data, max_pixels=MAX_PIXELS))
    gray = picture.gray
    bits = perceptual_hash.perceptual_hashes(gray)
    shown = depth.to_8_bit(gray, picture.bits or 8)
    counts = _counts(shown)
    return Measurements(
        path=path,
        content_hash=hashlib.sha256(data).hexdigest(),
        perceptual_hash=bits.hex() if bits is not None else None,
        format=formats.recognize(data),
        width=gray.shape[1],
        height=gray.shape[0],
        levels=_levels(counts),
        histogram=(counts / shown.size).astype(np.float32),
    )


def thumbnail(path: str, *, side: int = 320) -> NDArray[np.uint8] | None:
    """A file's pixels as 8 bits, the longer side at most `side`; None if it cannot be read."""
    try:
        return _thumbnail(path, side)
    except ImageError:
        return None


@formats.guarded()
@memory.bounded()
def _thumbnail(path: str, side: int) -> NDArray[np.uint8]:
    picture = depth.settled(preprocessing.read(reading.read_image(path), max_pixels=MAX_PIXELS))
    gray = picture.gray
    shrunk = side / max(*gray.shape, side)
    height, width = (max(1, round(size * shrunk)) for size in gray.shape)
    small = preprocessing.resize(gray, height=height, width=width)
    return depth.to_8_bit(small, picture.bits or 8)


def _counts(gray: Gray) -> NDArray[np.int64]:
    """How many pixels have each gray level, from 0 to the depth's largest."""
    counts = np.zeros(1 << 8 * gray.itemsize, np.int64)
    step = max(1, _COUNTED // gray.shape[1])
    for top in range(0, len(gray), step):
        # NumPy makes 8 bytes of each pixel
        counts += np.bincount(gray[top : top + step].ravel(), minlength=len(counts))
    return counts


def _levels(counts: NDArray[np.int64]) -> Levels:
    present = np.flatnonzero(counts)
    mean = float(np.average(present, weights=counts[present]))
    variance = float(np.average((present - mean) ** 2, weights=counts[present]))
    return Levels(min=int(present[0]), max=int(present[-1]), mean=mean, sd=variance**0.5)
