"""PNG: every chunk complete with the right checksum (ISO/IEC 15948), then OpenCV."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from isal import igzip_lib, isal_zlib

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import PNG, Picture, check_size, exif_orientation, opencv, upright

#: Chunks that pixels depend on. No others reach the decoder: texts and color profiles that inflate
#: to gigabytes, gamma that would change the luma, the frames of an animation.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

#: Samples per pixel by color type: gray, RGB, palette, gray and alpha, RGBA.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: First column and row, and steps, of the seven passes of an interlaced file.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)

#: Most bytes in a stored block of DEFLATE (RFC 1951, 3.2.4).
_STORED = 0xFFFF

#: Damaged data is inflated in pieces of this size; everything after the first broken one is lost.
_PIECE = 64


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
    try:
        if problem is not None:
            raise problem
        gray = opencv.gray(_inflated(chunks) or PNG + b"".join(chunks.kept))
    except ImageError as error:
        if not keep_damaged:
            raise
        problem, gray = error, opencv.gray(_mended(chunks))
    gray = upright(gray, exif_orientation(chunks.exif))
    warning = "the first image of an animation" if chunks.animated else None
    return Picture(gray, gray.shape[1], gray.shape[0], str(problem) if problem else warning)


def _walk(data: bytes, max_pixels: int) -> _Chunks:
    """The chunks up to the last, or up to where the file cannot be read further.

    Raises:
        ImageError: the header is broken, or the image is too large or unsupported.
    """
    chunks = _Chunks()
    try:
        for kind, body, whole in _chunks(data, chunks):
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
    if depth not in (1, 2, 4, 8, 16) or color not in _SAMPLES:
        raise ImageError("damaged", f"a PNG of color type {color} and {depth} bits")


def _inflated(chunks: _Chunks) -> bytes | None:
    """The file with its pixels inflated and stored uncompressed, which OpenCV reads faster.

    ISA-L inflates in a third of the time of libpng's zlib, which takes most of the decoding time.
    None if there are not as many pixels as the header says: OpenCV then reports what is wrong.
    """
    size = _inflated_size(chunks.header)
    inflater = isal_zlib.decompressobj()
    try:
        pixels = inflater.decompress(b"".join(chunks.compressed), size)
    except igzip_lib.IsalError:  # type: ignore[misc]  # a class, whatever its stub says
        return None
    if len(pixels) != size or not inflater.eof:
        return None
    return _with_pixels(chunks, _stored(pixels))


def _stored(pixels: bytes) -> bytes:
    """A zlib stream of uncompressed blocks (RFC 1950; RFC 1951, 3.2.4)."""
    view = memoryview(pixels)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(view), _STORED):
        block = view[start : start + _STORED]
        is_last = start + _STORED >= len(view)
        parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ _STORED), block]
    return b"".join([*parts, struct.pack(">I", isal_zlib.adler32(pixels))])


def _mended(chunks: _Chunks) -> bytes:
    """A complete file with the pixels that could be recovered, and black ones."""
    size = _inflated_size(chunks.header)
    inflater, pixels = zlib.decompressobj(), bytearray()
    compressed = memoryview(b"".join(chunks.compressed))
    try:
        for start in range(0, len(compressed), _PIECE):
            pixels += inflater.decompress(compressed[start : start + _PIECE], size - len(pixels))
            if len(pixels) >= size:
                break
    except zlib.error:
        pass
    if not pixels:
        raise chunks.problem or ImageError("damaged", "the PNG's pixels cannot be inflated")
    return _with_pixels(chunks, _stored(bytes(pixels.ljust(size, b"\0"))))


def _with_pixels(chunks: _Chunks, compressed: bytes) -> bytes:
    """The file with different compressed pixels."""
    before = [chunk for chunk in chunks.kept if bytes(chunk[4:8]) not in (b"IDAT", b"IEND")]
    return b"".join([PNG, *before, _chunk(b"IDAT", compressed), _chunk(b"IEND", b"")])


def _inflated_size(header: bytes) -> int:
    """Bytes of all rows, each preceded by the number of its filter."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES[color]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)])
