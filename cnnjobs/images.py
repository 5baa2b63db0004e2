"""From the bytes of a file to gray pixels: the only decoder, the same for training and scoring."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

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

#: Pixels in an area from which on a summed-area table is the faster way to its mean.
_MIN_SHRINK = 8

#: Pixels of 8 bits whose sum always has at most 31 bits.
_MAX_SUMMED = (2**31 - 1) // 255


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the bytes of a file become the pixels a model sees; saved in its bundle.

    Color becomes luma (ITU-R BT.601, what OpenCV and JPEG use). EXIF orientation is
    applied. Transparent pixels lie on black. DICOM is shown as its window or look-up
    tables say. Samples of more than 8 bits are divided by the largest value of their
    significant bits: of 9 to 15 bits if a TIFF states so, else the smallest of 8, 10, 12, 14
    and 16 bits that holds the image's maximum, because detectors of 10 to 14 bits are stored
    in 16-bit files unscaled. Shrinking averages over areas (INTER_AREA), because bilinear
    sampling aliases; enlarging is bilinear. The aspect ratio is not kept.

    With `scaled_jpeg` a JPEG is decoded at the smallest of libjpeg's scales 1/8, 1/4, 1/2 and
    1 at which both sides are still at least twice the wanted ones, and shrunk from there.

    `crop` is the share of the height cut off at the top and at the bottom, and of the width at
    both sides, before anything else: what lies there changes no pixel. Then, at the final size,
    `mask_corners` paints a share of height and width black at each corner, where text stands,
    and `equalize` is a contrast-limited adaptive histogram equalization (CLAHE; Zuiderveld
    1994, Graphics Gems IV) of `tiles` x `tiles` tiles, in each of which no gray value counts
    more than `clip_limit` times as often as it would were all equally frequent.

    All of them are off where a bundle does not say, because bundles once did not.
    """

    height: int
    width: int
    max_pixels: int = 200_000_000
    scaled_jpeg: bool = False
    crop: float = 0.0
    mask_corners: float = 0.0
    equalize: bool = False
    clip_limit: float = 2.0
    tiles: int = 8

    def __post_init__(self) -> None:
        for name in ("height", "width", "max_pixels", "tiles"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("crop", "mask_corners"):
            if not 0 <= getattr(self, name) < 0.5:
                raise ConfigError(
                    f"{name} must be at least 0 and below 0.5, got {getattr(self, name)}."
                )
        if not self.clip_limit > 0:
            raise ConfigError(f"clip_limit must be above 0, got {self.clip_limit}.")

    @property
    def decoded_size(self) -> tuple[int, int] | None:
        """The least (height, width) that a scaled JPEG is decoded at; None: the full size."""
        if not self.scaled_jpeg:
            return None
        # twice the wanted sides must be left when the borders are gone
        shares = 2 / (1 - 2 * self.crop)
        return math.ceil(self.height * shares), math.ceil(self.width * shares)


class Decoded(NamedTuple):
    """Pixels as a model takes them, and the size the image had (after orientation).

    `warning` is None, or what was wrong with a file that was taken all the same.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    warning: str | None = None


@formats.guarded()
def decode(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    keep_damaged: bool = False,
    any_modality: bool = False,
) -> Decoded:
    """Decode, orient, crop, shrink and scale one image to (height, width, 1) uint8.

    Args:
        data: the file.
        preprocessing: what to make of it.
        keep_damaged: take a damaged or cut file as far as its decoder does, with a warning.
        any_modality: take DICOM images of every modality, not radiographs only.

    Raises:
        ImageError: no such pixels can be had, with one of `words.ERROR_CATEGORIES`.
    """
    picture = read(
        data,
        max_pixels=preprocessing.max_pixels,
        keep_damaged=keep_damaged,
        any_modality=any_modality,
        at_least=preprocessing.decoded_size,
    )
    gray = cropped(picture.gray, preprocessing.crop)
    small = resize(gray, height=preprocessing.height, width=preprocessing.width)
    pixels = to_8_bit(small, picture.bits or significant_bits(gray))
    if preprocessing.mask_corners:
        pixels = without_corners(pixels, preprocessing.mask_corners)
    if preprocessing.equalize:
        pixels = equalized(pixels, preprocessing.clip_limit, preprocessing.tiles)
    return Decoded(
        pixels[:, :, np.newaxis],
        width=picture.width,
        height=picture.height,
        warning=picture.warning,
    )


@formats.guarded()
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


def cropped(image: Gray, share: float) -> Gray:
    """The image without `share` of its height at top and bottom, and of its width at both sides.

    Rounded down, so that a pixel is always left.
    """
    rows, columns = (int(share * side) for side in image.shape)
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def resize(image: Gray, *, height: int, width: int) -> Gray:
    """Shrink by averaging over areas, enlarge bilinearly, each side for itself."""
    shrunk = (min(width, image.shape[1]), min(height, image.shape[0]))
    if shrunk != (image.shape[1], image.shape[0]):
        image = area_means(image, height=shrunk[1], width=shrunk[0])
    if shrunk != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image


def area_means(image: Gray, *, height: int, width: int) -> Gray:
    """The means of height x width equal areas of the image, as of OpenCV's INTER_AREA.

    Large images take half of OpenCV's time: the sum of an area is the difference of the
    summed-area table (Crow 1984, "Summed-area tables for texture mapping") at its corners, and
    between whole pixels the table is bilinear. Of the pixels one in 10,000 is rounded otherwise.
    """
    is_summed = (
        image.ndim == 2  # pictures in color are shrunk, too
        and image.dtype == np.uint8
        and _MIN_SHRINK * height * width <= image.size <= _MAX_SUMMED
    )
    is_whole = image.shape[0] % height == 0 and image.shape[1] % width == 0
    if is_whole or not is_summed:
        return cast("Gray", cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    sums = cv2.integral(image)
    rows, down = _edges(image.shape[0], height)
    columns, across = _edges(image.shape[1], width)
    above, below = sums.take(rows, axis=0), sums.take(rows + 1, axis=0)
    corner = above.take(columns, axis=1)
    # from here on float32, which is too short for whole sums but not for those of a line
    right = (above.take(columns + 1, axis=1) - corner).astype(np.float32)
    under = below.take(columns, axis=1) - corner
    both = (below.take(columns + 1, axis=1) - corner).astype(np.float32)
    under = under.astype(np.float32)
    beyond = right * across + (under + (both - right - under) * across) * down[:, np.newaxis]
    totals = _differences(corner).astype(np.float32) + _differences(beyond)
    means = np.rint(totals * np.float32(height * width / image.size))
    return cast("Gray", means.astype(np.uint8))


def _edges(size: int, parts: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where `size` pixels are cut into equal parts: (parts + 1,) whole pixels, and what is over."""
    edges = np.arange(parts + 1) * size / parts
    whole = np.minimum(edges.astype(np.intp), size - 1)
    return whole, (edges - whole).astype(np.float32)


def _differences(table: NDArray[Any]) -> NDArray[Any]:
    """Of a table at the corners of areas: what lies in each."""
    rows = table[1:] - table[:-1]
    return cast("NDArray[Any]", rows[:, 1:] - rows[:, :-1])


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


def without_corners(pixels: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """A copy with `share` of height and width black at each of the four corners."""
    rows, columns = (round(share * side) for side in pixels.shape)
    masked = pixels.copy()
    for down in (slice(0, rows), slice(pixels.shape[0] - rows, None)):
        for across in (slice(0, columns), slice(pixels.shape[1] - columns, None)):
            masked[down, across] = 0
    return masked


def equalized(pixels: NDArray[np.uint8], clip_limit: float, tiles: int) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalization, as OpenCV does it."""
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    return clahe.apply(pixels)  # type: ignore[return-value]


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
