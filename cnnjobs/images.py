"""From the bytes of a file to gray pixels: the only decoder, the same for training and scoring."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs import formats
from cnnjobs.errors import ConfigError, ImageError

#: Bits a side of the perceptual hash: 16 x 16 = 256 bits.
HASH_SIDE = 16

#: Below this many pixels a side, images (digits, icons) look alike by nature: no perceptual hash.
MIN_SIDE_FOR_HASH = 64

#: (height, width) of 8 or up to 16 bits a sample.
Gray = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the bytes of a file become the pixels a model sees; saved in its bundle.

    Color becomes luma (ITU-R BT.601, what OpenCV and JPEG use). EXIF orientation is
    applied. Transparent pixels lie on black. Samples of more than 8 bits are divided by
    the largest value of their significant bits, the smallest of 8, 10, 12, 14 and 16 bits
    that holds the image's maximum, because detectors of 10 to 14 bits are stored in
    16-bit files unscaled. Shrinking averages over areas (INTER_AREA), because bilinear
    sampling aliases; enlarging is bilinear. The aspect ratio is not kept.
    """

    height: int
    width: int
    max_pixels: int = 200_000_000

    def __post_init__(self) -> None:
        for name in ("height", "width", "max_pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")


class Decoded(NamedTuple):
    """Pixels as a model takes them, and the size the image had (after orientation)."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, preprocessing: Preprocessing) -> Decoded:
    """Decode, orient, shrink and scale one image to (height, width, 1) uint8.

    Raises:
        ImageError: no such pixels can be had, with one of `words.ERROR_CATEGORIES`.
    """
    gray = read_gray(data, max_pixels=preprocessing.max_pixels)
    height, width = gray.shape
    small = resize(gray, height=preprocessing.height, width=preprocessing.width)
    pixels = to_8_bit(small, significant_bits(gray))
    return Decoded(pixels[:, :, np.newaxis], width=width, height=height)


def read_gray(data: bytes, *, max_pixels: int) -> Gray:
    """All pixels of one image as (height, width) gray, upright, in the file's own depth.

    Raises:
        ImageError: the file is empty, not an image, cut off, damaged, of float pixels,
            or has more than `max_pixels` by its own header.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if data.startswith(formats.JPEG):
        formats.check_jpeg(data, max_pixels)
        return _decode_gray(data)
    if data.startswith(formats.PNG):
        # not with IMREAD_GRAYSCALE: libpng's luma depends on the gamma that a file states
        formats.check_png(data, max_pixels)
    else:
        formats.check_other(data, max_pixels)
    gray = _decode_any(data)
    formats.check_size(gray.shape[1], gray.shape[0], max_pixels)
    return gray


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


def _decode_any(data: bytes) -> Gray:
    """Gray pixels over black, upright: what OpenCV does itself only where alpha is dropped."""
    image, orientation = _decode_unchanged(data)
    if image.ndim == 2:
        return _upright(image, orientation)
    gray = cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2GRAY)
    # libtiff lays 8-bit samples on black itself
    if image.shape[2] == 4 and not (data.startswith(formats.TIFF) and image.dtype == np.uint8):
        opacity = image[:, :, 3] / np.iinfo(image.dtype).max
        gray = np.rint(gray * opacity).astype(image.dtype)
    return _upright(gray, orientation)  # type: ignore[arg-type]


def _decode_unchanged(data: bytes) -> tuple[Gray, int]:
    """Pixels as stored, (height, width) or (height, width, 3 or 4), and the EXIF orientation."""
    with _opencv_refusals(data):
        image, kinds, blobs = cv2.imdecodeWithMetadata(
            np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED
        )
    exif = [
        np.asarray(blob).tobytes()
        for kind, blob in zip(np.ravel(kinds), blobs, strict=True)
        if kind == cv2.IMAGE_METADATA_EXIF
    ]
    return _checked(image, data), formats.exif_orientation(exif[0]) if exif else 1


def _decode_gray(data: bytes) -> Gray:
    """Gray pixels of a file without alpha; OpenCV applies the EXIF orientation."""
    with _opencv_refusals(data):
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        )
    return _checked(image, data)


@contextlib.contextmanager
def _opencv_refusals(data: bytes) -> Iterator[None]:
    try:
        yield
    except cv2.error as error:
        reason = str(error.err or error).splitlines()[0]
        raise ImageError(_category(data), f"OpenCV refuses it ({reason})") from error


def _checked(image: object, data: bytes) -> Gray:
    if not isinstance(image, np.ndarray) or image.size == 0:
        raise ImageError(_category(data), "OpenCV cannot decode it")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError("unsupported", f"{image.dtype} pixels have no defined gray range")
    return cast("Gray", image)


def _category(data: bytes) -> str:
    known = (formats.PNG, formats.JPEG, formats.BMP, *formats.TIFF)
    is_webp = data.startswith(formats.RIFF) and data[8:12] == b"WEBP"
    return "damaged" if is_webp or data.startswith(known) else "not an image"


def _upright(image: Gray, orientation: int) -> Gray:
    """Undo an EXIF orientation (1 to 8; CIPA DC-008, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        image = image.T
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return cast("Gray", np.ascontiguousarray(image))
