"""Recognizes file formats; what all formats share is here, the rest in one module per format.

OpenCV and Pillow decode more formats than are supported here, allocate whatever a header requests,
and let damage pass. So every file is recognized, measured and checked first.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError

#: (height, width) of 8 bits, or up to 16 bits, per sample.
Gray = NDArray[np.uint8] | NDArray[np.uint16]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
BMP, RIFF = b"BM", b"RIFF"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: The longest side that OpenCV accepts (its CV_IO_MAX_IMAGE_WIDTH).
MAX_SIDE = 1 << 20

#: Decoded bytes per allowed pixel: color and alpha of 16 bits, or padded tiles.
_BYTES_PER_PIXEL = 8

#: Pixels of large images are decoded in bands of about so many bytes.
BAND_BYTES = 32 << 20

#: The first bytes of other images, or those at byte 4, and their names.
_OTHER_IMAGES = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"SIMPLE  =": "FITS",
    b"\0\0\x01\0": "icon",
    b"n+1\0": "NIfTI",
}
_PIXMAPS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf")
_BOXES = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}

#: What is often found under the name of an image.
_NO_IMAGES = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"<svg": "an SVG drawing",
    b"<?xml": "XML or an SVG drawing",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer",
}

#: Value representations of the elements that DICOM data sets begin with.
_VALUE_KINDS = (b"UL", b"UI", b"CS", b"DA", b"TM", b"DT", b"OB", b"LO", b"SH")

#: Steps of several formats.
LUMA, OVER_BLACK = "luma of its colors (ITU-R BT.601)", "blended with black by its alpha"

#: The supported formats, as shown in messages.
FORMATS = "supported are PNG, JPEG, BMP, TIFF, WebP and DICOM"


class Picture(NamedTuple):
    """The image in a file: gray pixels, upright.

    `width` and `height` are those of the file (upright); a JPEG decoded at a smaller scale has
    fewer pixels. `warning` is None, or says what was wrong with a file that was accepted anyway.
    `bits`, of 8 to 16, is the depth that the file states for 16-bit pixels; None if it must be
    inferred from them (see `depth.settled`). `steps` says what was done to the stored samples, in
    order, for people.
    """

    gray: Gray
    width: int
    height: int
    warning: str | None = None
    bits: int | None = None
    steps: tuple[str, ...] = ()


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError; a decorator or context manager."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too large", "decoding it takes more memory than there is") from error
    except Exception as error:  # one odd file must not end a night's work
        raise ImageError("damaged", "its contents contradict each other") from error


def recognize(data: bytes) -> str:
    """The format of a file by its first bytes: png, jpeg, bmp, tiff, webp or dicom.

    Raises:
        ImageError: it is none of these; says what it is instead, if that is known.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if data.startswith(PNG):
        return "png"
    if data.startswith(JPEG):
        return "jpeg"
    # before TIFF, because the 128 bytes before DICOM's header may look like one (PS3.10 section
    # 7.1)
    if is_dicom(data) or _is_bare_data_set(data):
        return "dicom"
    if data.startswith(TIFF):
        return "tiff"
    if data.startswith(RIFF) and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(BMP):
        return "bmp"
    other = _other_image(data)
    if other is not None:
        raise ImageError("unsupported", f"a {other} file; {FORMATS}")
    beginning = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, what in _NO_IMAGES.items():
        if beginning[: len(start)].lower() == start.lower():
            raise ImageError("not an image", f"it is {what}")
    if not any(data[:4096]):
        raise ImageError("not an image", "it begins with zeros only")
    raise ImageError("not an image", "it does not begin like any known image format")


def is_dicom(first_bytes: bytes) -> bool:
    """Whether a file has DICOM's header, given its first 132 bytes or more.

    PS3.10 section 7.1: 128 arbitrary bytes, then DICM.
    """
    return first_bytes[128:132] == b"DICM"


def _is_bare_data_set(data: bytes) -> bool:
    """Whether a file begins like a DICOM data set without the 132 bytes that should precede it.

    That is, with an element of group 2 or 8 (PS3.5 section 7.1), little-endian.
    """
    if data[:2] not in (b"\x02\0", b"\x08\0") or data[3:4] != b"\0" or len(data) < 8:
        return False
    return data[4:6] in _VALUE_KINDS or int.from_bytes(data[4:8], "little") <= 64


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError if an image has no pixels or more than are allowed."""
    if width < 1 or height < 1:
        raise ImageError("damaged", f"{width} x {height} pixels according to its header")
    if width * height > max_pixels:
        raise ImageError("too large", f"{width} x {height} pixels, {max_pixels} are allowed")
    if max(width, height) > MAX_SIDE:
        raise ImageError("too large", f"{width} x {height} pixels, {MAX_SIDE} per side are allowed")


def check_bytes(number: int, max_pixels: int) -> None:
    """Raise ImageError if an image of so many decoded bytes is not allowed."""
    allowed = _BYTES_PER_PIXEL * max(max_pixels, 1 << 20)
    if number > allowed:
        raise ImageError("too large", f"{number} bytes of samples, {allowed} are allowed")


def bands(samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows in parts of about `BAND_BYTES`; all at once if there are few."""
    step = max(1, BAND_BYTES * len(samples) // max(samples.nbytes, 1))
    return (samples[top : top + step] for top in range(0, len(samples), step))


def by_bands(gray: Callable[[NDArray[Any]], Gray], samples: NDArray[Any]) -> Gray:
    """`gray` of samples whose rows do not depend on each other, with little memory besides."""
    whole, top = None, 0
    for band in bands(samples):
        part = gray(band)
        if len(part) == len(samples):
            return part
        if whole is None:
            whole = np.empty((len(samples), *part.shape[1:]), part.dtype)
        whole[top : top + len(part)] = part
        top += len(part)
    assert whole is not None, "an image has rows"
    return cast("Gray", whole)


def _other_image(data: bytes) -> str | None:
    for start, name in _OTHER_IMAGES.items():
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return _BOXES.get(data[8:12])
    if data[:2] in _PIXMAPS and data[2:3].isspace():
        return "portable pixmap"
    return None
