"""PNG: every chunk complete with the right checksum (ISO/IEC 15948), then OpenCV."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from isal import igzip_lib, isal_zlib

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import (
    BAND_BYTES,
    MAX_SIDE,
    PNG,
    Gray,
    Picture,
    check_bytes,
    check_size,
    exif_orientation,
    opencv,
    png_bands,
    png_stored,
    streams,
    upright,
)
from cnnjobs.imaging.formats.png_stored import SAMPLES

#: Chunks that pixels depend on. No others reach the decoder: texts and color profiles that inflate
#: to gigabytes, gamma that would change the luma, the frames of an animation.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

_COLORS = {0: "gray", 2: "color", 3: "palette", 4: "gray and alpha", 6: "color and alpha"}

#: First column and row, and steps, of the pass of a file, and of the seven of an interlaced one.
_ONE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)

#: Damaged data is inflated in pieces of this size; everything after the first broken one is lost.
_PIECE = 64

#: A file may have so many chunks, and one more per KiB: libpng writes chunks of 8 KiB.
_MAX_CHUNKS = 1 << 16


@dataclass
class _Chunks:
    """What reading the chunks of a file found."""

    header: bytes = b""
    kept: list[memoryview] = field(default_factory=list)
    compressed: list[memoryview] = field(default_factory=list)
    exif: bytes = b""
    animated: bool = False
    problem: ImageError | None = None

    def add(self, kind: bytes, body: memoryview, whole: memoryview) -> None:
        if kind == b"IHDR":
            self.header = bytes(body)
        if kind == b"IDAT":
            self.compressed.append(body)
        if kind == b"eXIf":
            self.exif = bytes(body)
        if kind == b"acTL":
            self.animated = True
        if kind in _KEPT:
            self.kept.append(whole)


def read(data: bytes, *, max_pixels: int, keep_damaged: bool = False) -> Picture:
    """Gray pixels of a PNG, upright; the first image of an animation.

    With `keep_damaged`, the missing pixels of a damaged or truncated file are black.

    Raises:
        ImageError: too large, unsupported, or (unless kept) damaged or truncated.
    """
    chunks = _walk(data, max_pixels)
    problem = chunks.problem
    if problem is not None and not keep_damaged:
        raise problem
    size = _inflated_size(chunks.header)
    is_large = size > memory.SMALL
    check_bytes(size, max_pixels)
    # the pixels inflated, stored and decoded; or those of a band, and all gray ones
    width, height = struct.unpack_from(">II", chunks.header)
    memory.take(2 * width * height + 8 * BAND_BYTES if is_large else 4 * size)
    try:
        if problem is not None:
            raise problem
        gray = _in_bands(chunks, _strictly_inflated(chunks)) if is_large else _at_once(chunks, size)
    except ImageError as error:
        if not keep_damaged:
            raise
        problem, recovered = error, _recovered(chunks, size)
        gray = (
            _in_bands(chunks, recovered)
            if is_large
            else opencv.gray(_with_pixels(chunks, b"".join(recovered)))
        )
    gray = upright(gray, exif_orientation(chunks.exif))
    warning = "the first image of an animation" if chunks.animated else None
    return Picture(gray, gray.shape[1], gray.shape[0], str(problem) if problem else warning)


def color_and_exif(data: bytes) -> tuple[str, bytes]:
    """The kind of color in the header of a PNG that `read` accepts, and its EXIF block."""
    chunks = _walk(data, MAX_SIDE**2)
    return _COLORS[chunks.header[9]], chunks.exif


def _walk(data: bytes, max_pixels: int) -> _Chunks:
    """The chunks up to the last, or up to where the file cannot be read further.

    Raises:
        ImageError: the header is broken, or the image is too large or unsupported.
    """
    chunks, allowed = _Chunks(), _MAX_CHUNKS + len(data) // 1024
    try:
        for number, (kind, body, whole) in enumerate(_chunks(data, chunks)):
            if number >= allowed:
                raise ImageError("too large", f"a PNG of more than {allowed} chunks")
            if kind == b"IHDR":
                _check_header(chunks.header, body, max_pixels)
            elif not chunks.header:
                raise ImageError("damaged", "the PNG does not begin with its header")
            if kind == b"tRNS" and chunks.header[9] == 0:
                raise ImageError("unsupported", "one gray value of the PNG is transparent")
            if kind not in _KEPT and kind[:1].isupper():
                raise ImageError("unsupported", f"a PNG with a {ascii(kind)[2:-1]} chunk")
            chunks.add(kind, body, whole)
    except ImageError as error:
        if not chunks.header or error.category not in ("truncated", "damaged"):
            raise
        chunks.problem = chunks.problem or error
    return chunks


def _chunks(data: bytes, chunks: _Chunks) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Each chunk's kind, its body, and the whole chunk.

    Pixels with a wrong checksum, or truncated ones, are added to `chunks` with the problem.
    """
    position, kind, content = len(PNG), b"", memoryview(data)
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageError("truncated", "the PNG ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        body, whole = content[position + 8 : end], content[position : end + 4]
        is_cut = end + 4 > len(data)
        if not is_cut and isal_zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big"):
            yield kind, body, whole
            position = end + 4
            continue
        if kind == b"IDAT":
            chunks.compressed.append(body)
        if is_cut:
            raise ImageError("truncated", "the PNG ends before its last chunk")
        problem = ImageError("damaged", f"a {ascii(kind)[2:-1]} chunk has a wrong checksum")
        if kind[:1].isupper() and kind != b"IDAT":
            raise problem
        chunks.problem = chunks.problem or problem
        position = end + 4


def _check_header(before: bytes, header: memoryview, max_pixels: int) -> None:
    if before or len(header) != 13:
        raise ImageError("damaged", "the PNG's header has a wrong length or comes twice")
    width, height, depth, color = struct.unpack_from(">IIBB", header)
    check_size(width, height, max_pixels)
    if depth not in (1, 2, 4, 8, 16) or color not in SAMPLES:
        raise ImageError("damaged", f"a PNG of color type {color} and {depth} bits")


def _at_once(chunks: _Chunks, size: int) -> Gray:
    """Gray pixels, first inflated to be stored uncompressed, which OpenCV reads faster.

    ISA-L inflates in a third of the time of libpng's zlib, which takes most of the decoding time.
    If there are not as many pixels as the header says, OpenCV gets the file and says what is wrong.
    """
    inflater = isal_zlib.decompressobj()
    try:
        pixels = inflater.decompress(b"".join(chunks.compressed), size)
    except igzip_lib.IsalError:  # type: ignore[misc]  # a class, whatever its stub says
        pixels = b""
    if len(pixels) != size or not inflater.eof:
        return opencv.gray(PNG + b"".join(chunks.kept))
    return opencv.gray(_with_pixels(chunks, pixels))


def _in_bands(chunks: _Chunks, inflated: Iterable[bytes]) -> Gray:
    passes = _ADAM7 if chunks.header[12] else _ONE
    return png_bands.read(chunks.header, _before(chunks), inflated, passes)


def _strictly_inflated(chunks: _Chunks) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj()
    try:
        for body in chunks.compressed:
            for piece in streams.pieces(body):
                yield inflater.decompress(piece)
    except igzip_lib.IsalError:  # type: ignore[misc]
        raise ImageError("damaged", "the PNG's pixels cannot be inflated") from None
    if not inflater.eof:
        raise ImageError("damaged", "the PNG's pixels have no end")


def _recovered(chunks: _Chunks, size: int) -> Iterator[bytes]:
    """The pixels that can be inflated, and black ones; none too many."""
    inflater, left = zlib.decompressobj(), size
    try:
        for piece in streams.pieces(b"".join(chunks.compressed), _PIECE):
            pixels = inflater.decompress(piece, left)
            left -= len(pixels)
            yield pixels
            if not left:
                return
    except zlib.error:
        pass
    if left == size:
        raise chunks.problem or ImageError("damaged", "the PNG's pixels cannot be inflated")
    while left:
        yield bytes(min(left, BAND_BYTES))
        left -= min(left, BAND_BYTES)


def _before(chunks: _Chunks) -> list[memoryview]:
    """The palette and the transparent colors."""
    return [chunk for chunk in chunks.kept if bytes(chunk[4:8]) in (b"PLTE", b"tRNS")]


def _with_pixels(chunks: _Chunks, pixels: bytes) -> bytes:
    """The file with these pixels, which are those of its passes."""
    return png_stored.file(chunks.header, _before(chunks), pixels)


def _inflated_size(header: bytes) -> int:
    """Bytes of all rows, each preceded by the number of its filter."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * SAMPLES[color]
    passes = _ADAM7 if interlaced else _ONE
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
