"""PNG: every chunk complete with the right checksum (ISO/IEC 15948), then OpenCV."""

import struct
import zlib
from collections.abc import Iterable, Iterator

from isal import igzip_lib, isal_zlib

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import (
    BAND_BYTES,
    LUMA,
    MAX_SIDE,
    OVER_BLACK,
    Gray,
    Picture,
    check_bytes,
    opencv,
    orientation,
    png_bands,
    png_filters,
    png_stored,
    png_texts,
    streams,
)
from cnnjobs.imaging.formats.png_chunks import Chunks, walk
from cnnjobs.imaging.formats.png_stored import SAMPLES

_RGB, _PALETTE = 2, 3
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


def read(data: bytes, *, max_pixels: int, keep_damaged: bool = False) -> Picture:
    """Gray pixels of a PNG, upright; the first image of an animation.

    With `keep_damaged`, the missing pixels of a damaged or truncated file are black.

    Raises:
        ImageError: too large, unsupported, or (unless kept) damaged or truncated.
    """
    chunks = walk(data, max_pixels)
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
    turned = orientation.stated(*_exif_and_xmp(chunks))
    gray = orientation.upright(gray, turned)
    warning = "the first image of an animation" if chunks.animated else None
    return Picture(
        gray,
        gray.shape[1],
        gray.shape[0],
        str(problem) if problem else warning,
        chunks.stated_bits,
        _steps(chunks, turned),
    )


def _steps(chunks: Chunks, turned: orientation.Orientation) -> tuple[str, ...]:
    depth, color, interlaced = chunks.header[8], chunks.header[9], chunks.header[12]
    kind = f"PNG, {depth} bits, {_COLORS[color]}{', interlaced' if interlaced else ''}"
    luma = (LUMA,) if color & 2 else ()
    has_alpha = color & 4 or any(chunk[4:8] == b"tRNS" for chunk in _before(chunks))
    return (kind, *luma, *((OVER_BLACK,) if has_alpha else ()), *turned.steps)


def _exif_and_xmp(chunks: Chunks) -> tuple[bytes, bytes]:
    exif, xmp = png_texts.exif_and_xmp(chunks.texts) if chunks.texts else (b"", b"")
    return chunks.exif or exif, xmp


def color_and_exif(data: bytes) -> tuple[str, bytes]:
    """The kind of color in the header of a PNG that `read` accepts, and its EXIF block."""
    chunks = walk(data, MAX_SIDE**2)
    return _COLORS[chunks.header[9]], _exif_and_xmp(chunks)[0]


def _at_once(chunks: Chunks, size: int) -> Gray:
    """Gray pixels, first inflated, and stored uncompressed if OpenCV is to undo their filters.

    ISA-L inflates in a third of the time of libpng's zlib, which takes most of the decoding time.
    """
    inflater = isal_zlib.decompressobj()
    try:
        pixels = inflater.decompress(b"".join(chunks.compressed), size)
    except igzip_lib.IsalError:  # type: ignore[misc]  # a class, whatever its stub says
        raise ImageError("damaged", "the PNG's pixels cannot be inflated") from None
    if len(pixels) != size or not inflater.eof:
        stream = streams.Stream(_strictly_inflated(chunks))
        pixels = stream.read(size)
        if len(pixels) < size:
            raise ImageError("damaged", "the PNG has fewer pixels than its header says")
        # runs the check of the stream's end; what follows the pixels is ignored, as libpng does
        stream.read(1)
    gray = png_filters.gray(chunks.header, pixels)
    return opencv.gray(_with_pixels(chunks, pixels)) if gray is None else gray


def _in_bands(chunks: Chunks, inflated: Iterable[bytes]) -> Gray:
    passes = _ADAM7 if chunks.header[12] else _ONE
    return png_bands.read(chunks.header, _before(chunks), inflated, passes)


def _strictly_inflated(chunks: Chunks) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj()
    try:
        for body in chunks.compressed:
            for piece in streams.pieces(body):
                yield inflater.decompress(piece)
    except igzip_lib.IsalError:  # type: ignore[misc]
        raise ImageError("damaged", "the PNG's pixels cannot be inflated") from None
    if not inflater.eof:
        raise ImageError("damaged", "the PNG's pixels have no end")


def _recovered(chunks: Chunks, size: int) -> Iterator[bytes]:
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


def _before(chunks: Chunks) -> list[bytes]:
    """The palette and the transparent colors, where they are such that libpng uses them.

    Raises:
        ImageError: the palette is missing or of a wrong size.
    """
    depth, color = chunks.header[8:10]
    transparent = b"".join(chunks.transparent[:1])
    if color == _RGB and len(transparent) == 6:
        if depth == 8:  # only the low bytes count (11.3.2.1)
            transparent = b"".join(bytes([0, low]) for low in transparent[1::2])
        return [png_stored.chunk(b"tRNS", transparent)]
    if color != _PALETTE:
        return []
    palette = bytes(chunks.palettes[0]) if len(chunks.palettes) == 1 else b""
    if len(palette) % 3 or not 3 <= len(palette) <= 768:
        raise ImageError("damaged", "the PNG's palette is missing or of a wrong size")
    palette = palette[: 3 << depth]
    before = [png_stored.chunk(b"PLTE", palette)]
    if 0 < len(transparent) <= len(palette) // 3:
        before.append(png_stored.chunk(b"tRNS", transparent))
    return before


def _with_pixels(chunks: Chunks, pixels: bytes) -> bytes:
    """The file with these pixels, which are those of its passes.

    Raises:
        ImageError: the filter of a row is unknown.
    """
    position = 0
    for rows, row in _passes(chunks.header):
        end = position + rows * row
        png_stored.check_filters(pixels[position:end:row])
        position = end
    return png_stored.file(chunks.header, _before(chunks), pixels)


def _inflated_size(header: bytes) -> int:
    """Bytes of all rows, each preceded by the number of its filter."""
    return sum(rows * row for rows, row in _passes(header))


def _passes(header: bytes) -> Iterator[tuple[int, int]]:
    """Number of rows, and bytes of a row, of each pass that has pixels."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * SAMPLES[color]
    for left, top, step_x, step_y in _ADAM7 if interlaced else _ONE:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            yield rows, 1 + (columns * bits + 7) // 8
