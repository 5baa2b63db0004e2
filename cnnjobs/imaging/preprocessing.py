"""From the bytes of a file to gray pixels: the only decoder, used for training and for scoring."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ConfigError
from cnnjobs.imaging import depth, dicom, formats, memory
from cnnjobs.imaging.formats import Gray, Picture, bmp, jpeg, png, tiff, webp

#: Pixels per area from which a summed-area table is the faster way to the mean.
_MIN_SHRINK = 8

#: Number of 8-bit pixels whose sum always fits in 31 bits.
_MAX_SUMMED = (2**31 - 1) // 255


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the bytes of a file become the pixels a model sees; saved in its bundle.

    Color becomes luma (ITU-R BT.601, as in OpenCV and JPEG). The orientation of EXIF, or else XMP,
    is applied. Transparent pixels are blended with black. DICOM is shown through its window or
    look-up tables. Samples of more than 8 bits are divided by the largest value of the bits that
    are used, as the file states or else by `depth.settled`. Shrinking
    averages over areas (INTER_AREA), because bilinear sampling aliases; enlarging is bilinear. The
    aspect ratio is not kept; with `square`, the longer side is first cut to the length of the
    shorter one, as much at both ends.

    With `scaled_jpeg`, a JPEG is decoded at the smallest of libjpeg's scales 1/8, 1/4, 1/2 and 1 at
    which both sides are at least twice the requested ones, and shrunk from there.

    `crop` is the share of the height cut off the top and the bottom, and of the width cut off both
    sides, before anything else: what is cut off changes no pixel. Then, at the final size,
    `mask_corners` paints a share of height and width black at each corner, where text usually is,
    and `equalize` applies contrast-limited adaptive histogram equalization (CLAHE; Zuiderveld 1994,
    Graphics Gems IV) with `tiles` x `tiles` tiles, in each of which no gray value counts for more
    than `clip_limit` times its share in a uniform histogram.

    All of these are off if a bundle does not mention them, because old bundles do not.
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
    square: bool = False

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

    def aspect(self, height: int, width: int) -> float:
        """Height over width of what the pixels show of an image with these sides."""
        return 1.0 if self.square else height / width

    @property
    def decoded_size(self) -> tuple[int, int] | None:
        """The smallest (height, width) to decode a scaled JPEG at; None for full size."""
        if not self.scaled_jpeg:
            return None
        # after cropping, twice the requested sides must remain
        shares = 2 / (1 - 2 * self.crop)
        return math.ceil(self.height * shares), math.ceil(self.width * shares)


class Decoded(NamedTuple):
    """Pixels as a model takes them, and the size of the image after orientation.

    `warning` is None, or says what was wrong with a file that was accepted anyway. `steps` says
    what was done to the stored samples, in order, for people.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    warning: str | None = None
    steps: tuple[str, ...] = ()


@formats.guarded()
@memory.bounded()
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
        preprocessing: the pixels to produce.
        keep_damaged: accept a damaged or truncated file as far as it decodes, with a warning.
        any_modality: accept DICOM images of every modality, not only radiographs.

    Raises:
        ImageError: the image cannot be decoded, with one of `constants.ERROR_CATEGORIES`.
    """
    picture = read(
        data,
        max_pixels=preprocessing.max_pixels,
        keep_damaged=keep_damaged,
        any_modality=any_modality,
        at_least=preprocessing.decoded_size,
    )
    picture = depth.settled(picture._replace(gray=visible(picture.gray, preprocessing)))
    small = resize(picture.gray, height=preprocessing.height, width=preprocessing.width)
    pixels = depth.to_8_bit(small, picture.bits or 8)
    if preprocessing.mask_corners:
        pixels = without_corners(pixels, preprocessing.mask_corners)
    if preprocessing.equalize:
        pixels = equalized(pixels, preprocessing.clip_limit, preprocessing.tiles)
    return Decoded(
        pixels[:, :, np.newaxis],
        width=picture.width,
        height=picture.height,
        warning=picture.warning,
        steps=(*picture.steps, *_steps(preprocessing, picture)),
    )


def _steps(preprocessing: Preprocessing, picture: Picture) -> Iterator[str]:
    """What `decode` does to a picture once it is cropped, for people."""
    rows, columns = picture.gray.shape
    height, width = preprocessing.height, preprocessing.width
    left = f"{columns} x {rows} pixels"
    if preprocessing.crop:
        after = "" if preprocessing.square else f" to {left}"
        yield f"cropped by {preprocessing.crop:.1%} at each side{after}"
    if preprocessing.square:
        yield f"cut to the central {left}"
    if height < rows or width < columns:
        least = f"{min(width, columns)} x {min(height, rows)}"
        yield f"shrunk to {least} pixels by averaging over areas"
    if height > rows or width > columns:
        yield f"enlarged to {width} x {height} pixels bilinearly"
    if picture.gray.dtype != np.uint8:
        yield f"scaled from {picture.bits} to 8 bits"
    if preprocessing.mask_corners:
        yield f"corners of {preprocessing.mask_corners:.1%} of each side painted black"
    if preprocessing.equalize:
        tiles = preprocessing.tiles
        yield f"equalized (CLAHE, clip limit {preprocessing.clip_limit:g}, {tiles} x {tiles} tiles)"


@formats.guarded()
@memory.bounded()
def read(
    data: bytes,
    *,
    max_pixels: int,
    keep_damaged: bool = False,
    any_modality: bool = False,
    at_least: tuple[int, int] | None = None,
) -> Picture:
    """Gray pixels of one image, upright, in the file's own depth; see `decode`.

    With `at_least`, a (height, width), a JPEG may be decoded at a smaller scale, but no smaller.
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


def visible(image: Gray, preprocessing: Preprocessing) -> Gray:
    """The part of an image that the model sees, before it is shrunk."""
    image = cropped(image, preprocessing.crop)
    return central_square(image) if preprocessing.square else image


def cropped(image: Gray, share: float) -> Gray:
    """The image without `share` of its height at top and bottom, and of its width at both sides.

    The number of pixels is rounded down, so at least one pixel remains.
    """
    rows, columns = (int(share * side) for side in image.shape)
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def central_square(image: Gray) -> Gray:
    """As many rows as columns: the middle of the longer side, as in torchxrayvision."""
    side = min(image.shape)
    top, left = (length // 2 - side // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


def resize(image: Gray, *, height: int, width: int) -> Gray:
    """Shrink by averaging over areas, enlarge bilinearly; each side independently."""
    shrunk = (min(width, image.shape[1]), min(height, image.shape[0]))
    if shrunk != (image.shape[1], image.shape[0]):
        image = area_means(image, height=shrunk[1], width=shrunk[0])
    if shrunk != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image


def area_means(image: Gray, *, height: int, width: int) -> Gray:
    """The means of height x width equal areas of the image, like OpenCV's INTER_AREA.

    Large images take half of OpenCV's time: the sum over an area is the difference of the
    summed-area table (Crow 1984, "Summed-area tables for texture mapping") at its corners, and
    between whole pixels the table is bilinear. One pixel in 10,000 is rounded differently.
    """
    is_summed = (
        image.ndim == 2  # color images are shrunk as well
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
    # float32 from here on: too short for whole sums but not for the sum of a row
    right = (above.take(columns + 1, axis=1) - corner).astype(np.float32)
    under = below.take(columns, axis=1) - corner
    both = (below.take(columns + 1, axis=1) - corner).astype(np.float32)
    under = under.astype(np.float32)
    beyond = right * across + (under + (both - right - under) * across) * down[:, np.newaxis]
    totals = _differences(corner).astype(np.float32) + _differences(beyond)
    means = np.rint(totals * np.float32(height * width / image.size))
    return cast("Gray", means.astype(np.uint8))


def _edges(size: int, parts: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where `size` pixels are cut into equal parts: (parts + 1,) whole pixels and fractions."""
    edges = np.arange(parts + 1) * size / parts
    whole = np.minimum(edges.astype(np.intp), size - 1)
    return whole, (edges - whole).astype(np.float32)


def _differences(table: NDArray[Any]) -> NDArray[Any]:
    """From a table at the corners of areas to the sum in each."""
    rows = table[1:] - table[:-1]
    return cast("NDArray[Any]", rows[:, 1:] - rows[:, :-1])


def without_corners(pixels: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """A copy with `share` of height and width painted black at each corner."""
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
