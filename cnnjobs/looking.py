"""A first look at images: gray levels of one, and of a class of them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs import formats, headers, images
from cnnjobs.errors import ImageError
from cnnjobs.formats import Gray, Picture
from cnnjobs.headers import Header
from cnnjobs.images import Preprocessing
from cnnjobs.reading import read_image

MAX_PIXELS = Preprocessing.max_pixels

#: Files that are looked at between two reports of progress.
FILES_AT_ONCE = 256

_GRAY_LEVELS = 256


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Gray levels of an image's pixels, as stored; `sd` divides by their number."""

    min: int
    max: int
    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is remembered of one file among many; all is None or empty where `error` is not.

    `levels` and `histogram` (the shares of 256 gray levels) are of the pixels as 8 bits.
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
    return Levels(
        min=int(gray.min()), max=int(gray.max()), mean=float(gray.mean()), sd=float(gray.std())
    )


def open_image(path: str) -> tuple[Header, Picture, int]:
    """Header, pixels (of any modality) and size in bytes of one file.

    Raises:
        ImageError: it cannot be read.
    """
    data = read_image(path)
    picture = images.read(data, max_pixels=MAX_PIXELS, any_modality=True)
    return headers.read(data), picture, len(data)


def look(path: str) -> Look:
    """Look at one file; what is wrong with it is its `error`."""
    try:
        data = read_image(path)
        picture = images.read(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return Look(path=path, error=str(error))
    gray = picture.gray
    bits = images.perceptual_hash(gray)
    shown = images.to_8_bit(gray, picture.bits or images.significant_bits(gray))
    counts = np.bincount(shown.ravel(), minlength=_GRAY_LEVELS)
    return Look(
        path=path,
        content_hash=hashlib.sha256(data).hexdigest(),
        perceptual_hash=bits.hex() if bits is not None else None,
        format=formats.recognize(data),
        width=gray.shape[1],
        height=gray.shape[0],
        levels=levels(shown),
        histogram=(counts / shown.size).astype(np.float32),
    )


def look_at(paths: Sequence[str]) -> Iterator[Look]:
    """Look at many files, in order, on every core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), FILES_AT_ONCE):
            yield from pool.map(look, paths[start : start + FILES_AT_ONCE])


def thumbnail(path: str, *, side: int = 320) -> NDArray[np.uint8] | None:
    """A file's pixels as 8 bits, the longer side at most `side`; None if it cannot be read."""
    try:
        picture = images.read(read_image(path), max_pixels=MAX_PIXELS)
    except ImageError:
        return None
    gray = picture.gray
    shrunk = side / max(*gray.shape, side)
    height, width = (max(1, round(size * shrunk)) for size in gray.shape)
    small = images.resize(gray, height=height, width=width)
    return images.to_8_bit(small, picture.bits or images.significant_bits(gray))
