"""TIFF and BigTIFF: sizes and compressed data checked by their first directory, then OpenCV.

libtiff tells OpenCV's log of damaged strips, and OpenCV returns what it has.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import Picture, check_size, jpeg, opencv

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_SIZES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325

_JPEG_TABLES = 347

#: Compressions that OpenCV's libtiff knows: CCITT (three), LZW, JPEG, deflate, PackBits.
_NONE, _JPEG, _DEFLATE, _BY_PILLOW = 1, 7, (8, 32946), (2, 3, 4, 5, 32773)

#: struct's letters of the field types that are whole numbers or bytes (TIFF 6.0, BigTIFF).
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}

_PILLOW = threading.Lock()

_Tags = dict[int, Sequence[int]]


class _Layout(NamedTuple):
    """The two kinds of TIFF: struct's letters of a number and an offset, and sizes in bytes."""

    start: int
    number: str
    offset: str
    value: int


_CLASSIC = _Layout(start=4, number="H", offset="I", value=4)
_BIG = _Layout(start=8, number="Q", offset="Q", value=8)


def read(data: bytes, *, max_pixels: int) -> Picture:
    """Gray pixels of a TIFF's first page, upright.

    Raises:
        ImageError: too large, of a kind that is not read, cut or damaged.
    """
    try:
        tags, several = _directory(data)
    except struct.error:
        raise ImageError("truncated", "the TIFF ends before its directory") from None
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ImageError("damaged", "the TIFF states no size")
    width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    check_size(width, height, max_pixels)
    if _first(tags, _TILE_WIDTH, 0) and _first(tags, _TILE_HEIGHT, 0):
        # a tile is decoded whole, also where the image is smaller
        check_size(tags[_TILE_WIDTH][0], tags[_TILE_HEIGHT][0], max(max_pixels, 1 << 20))
    _check_kind(tags)
    _check_data(data, tags)
    gray = opencv.gray(data)
    check_size(gray.shape[1], gray.shape[0], max_pixels)
    warning = "the first of several pages" if several else None
    return Picture(gray, gray.shape[1], gray.shape[0], warning)


def _directory(data: bytes) -> tuple[_Tags, bool]:
    """The whole numbers of the first directory by tag, and whether another one follows."""
    order = "<" if data.startswith(b"II") else ">"
    layout = _BIG if data[2:4] in (b"+\0", b"\0+") else _CLASSIC
    size_of_number = struct.calcsize(f"={layout.number}")
    (start,) = struct.unpack_from(order + layout.offset, data, layout.start)
    (num_entries,) = struct.unpack_from(order + layout.number, data, start)
    first, size = start + size_of_number, 4 + 2 * layout.value
    if first + num_entries * size + layout.value > len(data):
        raise ImageError("truncated", "the TIFF ends in its directory")
    tags: _Tags = {}
    for position in range(first, first + num_entries * size, size):
        tag, kind, count = struct.unpack_from(f"{order}HH{layout.offset}", data, position)
        if kind not in _INTEGERS or count < 1 or tag in tags:
            continue
        form = f"{order}{count}{_INTEGERS[kind]}"
        place = position + 4 + layout.value
        if count * struct.calcsize("=" + _INTEGERS[kind]) > layout.value:
            (place,) = struct.unpack_from(order + layout.offset, data, place)
        if place + count > len(data):
            raise ImageError("truncated", "the TIFF ends before its tags")
        tags[tag] = struct.unpack_from(form, data, place)
    end = first + num_entries * size
    following = data[end : end + layout.value]
    return tags, any(following)


def _check_kind(tags: _Tags) -> None:
    """Refuse what OpenCV misreads or cannot read."""
    if _first(tags, _SAMPLES, 1) == 2:
        raise ImageError("unsupported", "OpenCV misreads a TIFF of gray and alpha")
    if _first(tags, _PHOTOMETRIC, 1) == 0 and _first(tags, _BITS, 1) == 16:
        raise ImageError("unsupported", "a 16-bit TIFF in which 0 is white")
    compression = _first(tags, _COMPRESSION, _NONE)
    if compression not in (_NONE, _JPEG, *_DEFLATE, *_BY_PILLOW):
        raise ImageError("unsupported", f"a TIFF of compression {compression}")


def _check_data(data: bytes, tags: _Tags) -> None:
    """Every strip or tile lies in the file and, where it is compressed, is not damaged."""
    tiled = _TILES in tags
    places = tags.get(_TILES if tiled else _STRIPS, ())
    sizes = tags.get(_TILE_SIZES if tiled else _STRIP_SIZES, ())
    for place, size in zip(places, sizes, strict=False):
        if place + size > len(data):
            raise ImageError("truncated", "the TIFF ends before its pixels do")
    compression = _first(tags, _COMPRESSION, _NONE)
    if compression in _BY_PILLOW:
        _check_by_pillow(data)
    largest = _strip_size(tags, tiled)
    for place, size in zip(places, sizes, strict=False):
        if compression in _DEFLATE:
            _check_deflate(data[place : place + size], largest)
        if compression == _JPEG:
            _check_jpeg(data[place : place + size], bytes(tags.get(_JPEG_TABLES, ())), largest)


def _strip_size(tags: _Tags, tiled: bool) -> int:
    """Bytes that a strip or tile inflates to at most."""
    if tiled:
        width, rows = _first(tags, _TILE_WIDTH, 1), _first(tags, _TILE_HEIGHT, 1)
    else:
        width = tags[_WIDTH][0]
        rows = min(_first(tags, _ROWS, tags[_HEIGHT][0]), tags[_HEIGHT][0])
    samples = _first(tags, _SAMPLES, 1) if _first(tags, _PLANAR, 1) == 1 else 1
    return (width * samples * _first(tags, _BITS, 1) + 7) // 8 * rows


def _check_deflate(strip: bytes, largest: int) -> None:
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(strip, largest + 1)
    except zlib.error as error:
        raise ImageError("damaged", f"a strip of the TIFF: {error}") from None
    if not inflater.eof:
        raise ImageError("damaged", "a strip of the TIFF has no end")


def _check_jpeg(strip: bytes, tables: bytes, largest: int) -> None:
    # an abbreviated image after its tables (TIFF technical note 2): without the end and the start
    jpeg.read(tables[:-2] + strip[2:] if tables else strip, max_pixels=largest)


def _check_by_pillow(data: bytes) -> None:
    """Refuse what Pillow's libtiff finds damaged; kinds that Pillow does not know pass."""
    from PIL import TiffImagePlugin

    # Pillow warns of tags that no pixel depends on; filters are the process's, so one at a time
    with _PILLOW, warnings.catch_warnings(action="ignore"):
        try:
            # not by Image.open, which warns of sizes that were allowed
            picture = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        except (SyntaxError, TypeError, KeyError, ValueError, OSError, struct.error):
            return
        try:
            picture.load()
        except (OSError, ValueError, SyntaxError) as error:
            reason = str(error).splitlines()[0]
            raise ImageError("damaged", f"a strip of the TIFF ({reason})") from None


def _first(tags: _Tags, tag: int, otherwise: int) -> int:
    return tags[tag][0] if tag in tags else otherwise
