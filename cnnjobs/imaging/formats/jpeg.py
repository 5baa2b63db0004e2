"""JPEG: libjpeg-turbo (simplejpeg), which reports damage that OpenCV at most prints."""

import contextlib
import io
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple, cast

import cv2
import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import JPEG, LUMA, Gray, Picture, check_size, jpeg_metadata
from cnnjobs.imaging.formats.orientation import Orientation, upright

_SCAN, _END = 0xDA, 0xD9

#: Start-of-frame markers, which contain the size: 0xC0 to 0xCF except the table segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

#: The supported ones (T.81 table B.1): DCT and lossless, arithmetic DCT.
_KINDS = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "arithmetic",
    0xCA: "progressive arithmetic",
}
_LOSSLESS = 0xC3
_JPEG_LS = 0xF7

#: Markers without a length: TEM and the restarts.
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})

#: What may follow a scan: tables, another scan, the number of lines, application data, the end.
_AFTER_SCAN = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, _SCAN, _END, *range(0xE0, 0xF0)})

#: In a scan every 0xFF is followed by a zero or a restart marker; anything else ends it.
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

#: Scans per image: progressive files have about 10; thousands would take minutes to decode.
MAX_SCANS = 100

#: Pixels of all scans together, in pixels of the largest image: each scan visits all of them.
_MAX_VISITS = 20

#: Segments and fill bytes per image: 10,000 segments can contain 600 MB.
_MAX_SEGMENTS = 10_000

#: Scales of libjpeg's inverse transform that are cheaper than full size (its SIMD paths).
_SCALES = (8, 4, 2)


class _Header(NamedTuple):
    width: int
    height: int
    frame: int
    num_components: int
    orientation: Orientation
    num_scans: int
    problem: ImageError | None


def read(
    data: bytes,
    *,
    max_pixels: int,
    keep_damaged: bool = False,
    at_least: tuple[int, int] | None = None,
) -> Picture:
    """Gray pixels of a JPEG: its luma channel, or the luma of its colors.

    Args:
        data: the file.
        max_pixels: largest number of pixels that the header may state.
        keep_damaged: accept what libjpeg makes of a damaged file, and say so in `warning`.
        at_least: (height, width), upright. Decode at the smallest of the scales 1/8, 1/4, 1/2 and 1
            that leaves both sides at least this large; None decodes at full size.

    Raises:
        ImageError: too large, unsupported, or (unless kept) damaged or truncated.
    """
    header = _inspect(data, max_pixels)
    problem = header.problem
    if problem is not None and not (keep_damaged and problem.category in ("damaged", "truncated")):
        raise problem
    if header.width * header.height * header.num_scans > _MAX_VISITS * max(max_pixels, 1 << 20):
        reason = f"{header.width} x {header.height} pixels in {header.num_scans} scans"
        raise ImageError("too large", reason)
    # gray, and with several scans libjpeg keeps the coefficients of all components
    bytes_per_pixel = 1 if header.num_scans < 2 else 9
    memory.take(bytes_per_pixel * header.width * header.height)
    turned = header.orientation.swaps_sides
    smallest = at_least[::-1] if turned and at_least is not None else at_least
    scale = _scale(header, smallest)
    gray, reported = _decode(data, header, scale, keep_damaged)
    width, height = header.width, header.height
    return Picture(
        upright(gray, header.orientation),
        width=height if turned else width,
        height=width if turned else height,
        warning=str(problem) if problem is not None else reported,
        steps=_steps(header, scale),
    )


def _steps(header: _Header, scale: int) -> tuple[str, ...]:
    kind = f"JPEG, 8 bits, {_KINDS[header.frame]}, "
    kind += {1: "gray", 3: "color"}.get(header.num_components, f"{header.num_components} inks")
    steps = (kind,) if scale == 1 else (kind, f"decoded at 1/{scale} of its size")
    luma = (LUMA,) if header.num_components > 1 else ()
    return (*steps, *luma, *header.orientation.steps)


def frame_size(data: bytes) -> tuple[int, int]:
    """Width and height in the frame header of any JPEG, including lossless and JPEG-LS (T.87).

    Raises:
        ImageError: there is none.
    """
    if data.startswith(JPEG[:2]):
        for marker, start, end in _segments(data):
            if marker in (*_FRAMES, _JPEG_LS) and end - start >= 5:
                height, width = struct.unpack_from(">HH", data, start + 1)
                return width, height
    raise ImageError("damaged", "the JPEG has no frame header")


def color_and_exif(data: bytes) -> tuple[str, bytes]:
    """Whether a JPEG that `read` accepts has one component or several, and its EXIF block."""
    color, metadata = "gray", jpeg_metadata.Metadata()
    try:
        for marker, start, end in _segments(data):
            if marker in _FRAMES and data[start + 5] > 1:
                color = "color"
            else:
                metadata.add(marker, data, start, end)
    except ImageError:  # of a damaged file that was accepted
        pass
    return color, metadata.exif


def _inspect(data: bytes, max_pixels: int) -> _Header:
    """Size, kind and orientation, and what is wrong with the segments.

    Raises:
        ImageError: the size is unknown or too large, or the kind is unsupported.
    """
    frame, precision, width, height, num_components, num_scans = 0, 0, 0, 0, 0, 0
    metadata, problem = jpeg_metadata.Metadata(), None
    try:
        for marker, start, end in _segments(data):
            if marker in _FRAMES and not frame:
                if end - start < 6:
                    raise ImageError("damaged", "the JPEG's frame header is too short")
                frame = marker
                precision, height, width, num_components = struct.unpack_from(">BHHB", data, start)
            elif marker == _JPEG_LS:
                raise ImageError("unsupported", "a JPEG-LS image")
            elif marker == _SCAN:
                num_scans += 1
            else:
                metadata.add(marker, data, start, end)
    except ImageError as error:
        problem = error
    if not frame:
        raise problem or ImageError("damaged", "the JPEG has no frame header")
    check_size(width, height, max_pixels)
    if frame not in _KINDS:
        raise ImageError("unsupported", "a JPEG of a hierarchical or arithmetic lossless kind")
    if precision != 8:
        raise ImageError("unsupported", f"a JPEG of {precision} bits per sample")
    return _Header(width, height, frame, num_components, metadata.orientation(), num_scans, problem)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each segment's marker, and start and end of its body, up to the end of the first image.

    Anything after that (a second image, padding) is ignored. ITU-T T.81, annex B.

    Raises:
        ImageError: the segments or the scans are incomplete.
    """
    position, num_scans = 2, 0
    for _ in range(_MAX_SEGMENTS):
        if position + 2 > len(data):
            raise _cut(num_scans)
        if data[position] != 0xFF:
            raise ImageError("damaged", "a JPEG marker is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _BARE and not num_scans:
            position += 2
            continue
        if num_scans and marker not in _AFTER_SCAN:
            raise ImageError("damaged", f"the JPEG's scan holds a marker {marker:#04x}")
        if marker == _END:
            if not num_scans:
                raise ImageError("damaged", "the JPEG ends without pixels")
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        end = position + 2 + length
        if position + 4 > len(data) or end > len(data):
            raise _cut(num_scans)
        if length < 2:
            raise ImageError("damaged", "a JPEG segment has no length")
        yield marker, position + 4, end
        position = end
        if marker == _SCAN:
            num_scans += 1
            if num_scans > MAX_SCANS:
                raise ImageError("unsupported", f"a JPEG of more than {MAX_SCANS} scans")
            found = _SCAN_END.search(data, position)
            if found is None:
                raise _cut(num_scans)
            position = found.start()
    raise ImageError("too large", f"a JPEG of more than {_MAX_SEGMENTS} segments")


def _cut(num_scans: int) -> ImageError:
    where = "the JPEG's scan has no end" if num_scans else "the JPEG ends before its pixels"
    return ImageError("truncated", where)


def _scale(header: _Header, at_least: tuple[int, int] | None) -> int:
    """The divisor of the smallest scale that leaves (height, width) `at_least`."""
    if at_least is None or header.frame == _LOSSLESS:
        return 1
    for scale in _SCALES:
        if -(-header.height // scale) >= at_least[0] and -(-header.width // scale) >= at_least[1]:
            return scale
    return 1


def _decode(
    data: bytes, header: _Header, scale: int, keep_damaged: bool
) -> tuple[Gray, str | None]:
    """Pixels as stored, and a warning if damage was accepted."""
    try:
        return _turbo(data, header, scale, strict=True), None
    except ValueError as error:
        text = str(error)
    # of the same pixels: what libjpeg refuses may be a color profile
    data = jpeg_metadata.without(data, _segments(data), header.num_components)
    if "subsampling" in text:
        return _unusual(data), "of unusual subsampling: damage in its scan is not detected"
    with contextlib.suppress(ValueError):
        return _turbo(data, header, scale, strict=True), "its metadata is damaged and ignored"
    category = "truncated" if text.startswith("Premature end") else "damaged"
    problem = ImageError(category, f"libjpeg reports: {text}")
    if not keep_damaged:
        raise problem
    try:
        return _turbo(data, header, scale, strict=False), str(problem)
    except ValueError:
        raise problem from None


def _unusual(data: bytes) -> Gray:
    """TurboJPEG knows only the usual subsamplings; Pillow's libjpeg accepts all."""
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        # libjpeg leaves out the colors, as TurboJPEG does
        image.draft("L", image.size)
        return np.asarray(image.convert("L"))
    except (OSError, SyntaxError) as error:
        raise ImageError("damaged", "the JPEG's pixels cannot be decoded") from error


def _turbo(data: bytes, header: _Header, scale: int, *, strict: bool) -> Gray:
    height, width = -(-header.height // scale), -(-header.width // scale)
    sides = {"min_height": height, "min_width": width}
    # where a damaged file has no pixels the decoder writes none: black, not leftover memory
    buffer = None if strict else np.zeros((height, width, 1), np.uint8)
    try:
        image = simplejpeg.decode_jpeg(
            data, colorspace="GRAY", buffer=buffer, strict=strict, **sides
        )
        return cast("Gray", image[:, :, 0])
    except ValueError as error:
        if "color conversion" not in str(error):
            raise
    # the colors of a lossless JPEG are not converted while decoding
    buffer = None if strict else np.zeros((height, width, 3), np.uint8)
    image = simplejpeg.decode_jpeg(data, colorspace="BGR", buffer=buffer, strict=strict, **sides)
    return cast("Gray", cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
