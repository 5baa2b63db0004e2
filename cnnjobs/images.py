"""From the bytes of a file to gray pixels: the only decoder, the same for training and scoring."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs import dicom, formats
from cnnjobs.errors import ConfigError
from cnnjobs.formats import Gray, Picture, bmp, jpeg, png, tiff, webp

#: Bits a side of the perceptual hash: 16 x 16 = 256 bits.
HASH_SIDE = 16

#: Below this many pixels a side, images (digits, icons) look alike by nature: no perceptual hash.
MIN_SIDE_FOR_HASH = 64


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the bytes of a file become the pixels a model sees; saved in its bundle.

    Color becomes luma (ITU-R BT.601, what OpenCV and JPEG use). EXIF orientation is
    applied. Transparent pixels lie on black. DICOM is shown as its window or look-up
    tables say. Samples of more than 8 bits are divided by
    the largest value of their significant bits, the smallest of 8, 10, 12, 14 and 16 bits
    that holds the image's maximum, because detectors of 10 to 14 bits are stored in
    16-bit files unscaled. Shrinking averages over areas (INTER_AREA), because bilinear
    sampling aliases; enlarging is bilinear. The aspect ratio is not kept.

    With `scaled_jpeg` a JPEG is decoded at the smallest of libjpeg's scales 1/8, 1/4, 1/2 and
    1 at which both sides are still at least twice the wanted ones, and shrunk from there.
    Off where a bundle does not say, because bundles once did not.
    """

    height: int
    width: int
    max_pixels: int = 200_000_000
    scaled_jpeg: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "max_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")


class Decoded(NamedTuple):
    """Pixels as a model takes them, and the size the image had (after orientation).

    `warning` is None, or what was wrong with a file that was taken all the same.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    warning: str | None = None


def decode(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    keep_damaged: bool = False,
    any_modality: bool = False,
) -> Decoded:
    """Decode, orient, shrink and scale one image to (height, width, 1) uint8.

    Args:
        data: the file.
        preprocessing: what to make of it.
        keep_damaged: take a damaged or cut file as far as its decoder does, with a warning.
        any_modality: take DICOM images of every modality, not radiographs only.

    Raises:
        ImageError: no such pixels can be had, with one of `words.ERROR_CATEGORIES`.
    """
    wanted = preprocessing.height, preprocessing.width
    picture = read(
        data,
        max_pixels=preprocessing.max_pixels,
        keep_damaged=keep_damaged,
        any_modality=any_modality,
        at_least=(2 * wanted[0], 2 * wanted[1]) if preprocessing.scaled_jpeg else None,
    )
    small = resize(picture.gray, height=wanted[0], width=wanted[1])
    pixels = to_8_bit(small, significant_bits(picture.gray))
    return Decoded(
        pixels[:, :, np.newaxis],
        width=picture.width,
        height=picture.height,
        warning=picture.warning,
    )


def read(
    data: bytes,
    *,
    max_pixels: int,
    keep_damaged: bool = False,
    any_modality: bool = False,
    at_least: tuple[int, int] | None = None,
) -> Picture:
    """Gray pixels of one image, upright, in the file's own depth; see `decode`.

    `at_least`, a (height, width), lets a JPEG be decoded scaled down to no less than that.
    """
    match formats.recognize(data):
        case "png":
            return png.read(data, max_pixels=max_pixels, keep_damaged=keep_damaged)
        case "jpeg":
            return jpeg.read(
                data, max_pixels=max_pixels, keep_damaged=keep_damaged, at_least=at_least
            )
        case "tiff":
            return tiff.read(data, max_pixels=max_pixels)
        case "webp":
            return webp.read(data, max_pixels=max_pixels)
        case "bmp":
            return bmp.read(data, max_pixels=max_pixels)
        case _:
            return dicom.read(
                data, max_pixels=max_pixels, keep_damaged=keep_damaged, any_modality=any_modality
            )


def read_gray(
    data: bytes, *, max_pixels: int, keep_damaged: bool = False, any_modality: bool = False
) -> Gray:
    """All pixels of one image as (height, width) gray; see `read`."""
    return read(
        data, max_pixels=max_pixels, keep_damaged=keep_damaged, any_modality=any_modality
    ).gray


def resize(image: Gray, *, height: int, width: int) -> Gray:
    """Shrink by averaging over areas, enlarge bilinearly, each side for itself."""
    shrunk = (min(width, image.shape[1]), min(height, image.shape[0]))
    if shrunk != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if shrunk != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image


def significant_bits(image: Gray) -> int:
    """The smallest of 8, 10, 12, 14 and 16 bits that holds the image's largest value."""
    if image.dtype == np.uint8:
        return 8
    largest = int(image.max())
    return next(bits for bits in (8, 10, 12, 14, 16) if largest < 1 << bits)


def to_8_bit(image: Gray, bits: int) -> NDArray[np.uint8]:
    """Scale samples of `bits` significant bits to 0..255, rounded to the nearest."""
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    scaled = image.astype(np.float32) * (255 / ((1 << bits) - 1))
    rounded: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded


def perceptual_hash(gray: Gray) -> bytes | None:
    """256 bits that survive resizing, re-encoding and a change of contrast; 32 bytes.

    The signs of the 16 x 16 lowest frequencies of the discrete cosine transform of a
    64 x 64 thumbnail against their median (pHash; Zauner 2010, "Implementation and
    Benchmarking of Perceptual Image Hash Functions"). None for an image with a side below
    `MIN_SIDE_FOR_HASH` pixels or without any contrast.
    """
    if min(gray.shape) < MIN_SIDE_FOR_HASH:
        return None
    thumbnail = resize(gray, height=64, width=64).astype(np.float32)
    if thumbnail.max() - thumbnail.min() < 1:
        return None
    low = cv2.dct(thumbnail)[:HASH_SIDE, :HASH_SIDE].ravel()
    # the first is the mean brightness: thousands of times the rest, it would move the median
    return np.packbits(low > np.median(low[1:])).tobytes()
