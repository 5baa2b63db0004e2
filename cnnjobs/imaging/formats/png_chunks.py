"""The chunks of a PNG: each complete with the right checksum (ISO/IEC 15948, clause 5)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from isal import isal_zlib

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import PNG, check_size, png_texts

#: Chunks that pixels depend on. No others reach the decoder: texts and color profiles that inflate
#: to gigabytes, gamma that would change the luma, the frames of an animation.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

#: The longest side that libpng accepts (PNG_USER_WIDTH_MAX).
_MAX_SIDE = 1_000_000

#: Depths by color type (ISO/IEC 15948, table 11.1).
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

#: A file may have so many chunks, and one more per KiB: libpng writes chunks of 8 KiB.
_MAX_CHUNKS = 1 << 16


@dataclass
class Chunks:
    """What reading the chunks of a file found."""

    header: bytes = b""
    palettes: list[memoryview] = field(default_factory=list)
    transparent: list[memoryview] = field(default_factory=list)
    compressed: list[memoryview] = field(default_factory=list)
    exif: bytes = b""
    texts: list[tuple[bytes, memoryview]] = field(default_factory=list)
    stated_bits: int | None = None
    animated: bool = False
    problem: ImageError | None = None

    def add(self, kind: bytes, body: memoryview) -> None:
        if kind == b"IHDR":
            self.header = bytes(body)
        elif kind == b"IDAT":
            self.compressed.append(body)
        elif kind == b"PLTE":
            self.palettes.append(body)
        elif kind == b"tRNS":
            self.transparent.append(body)
        elif kind == b"eXIf":
            self.exif = bytes(body)
        elif kind == b"acTL":
            self.animated = True
        elif kind == b"sBIT" and self.header[8:9] == b"\x10":
            # of each channel; the alpha's counts as well
            self.stated_bits = max((bits for bits in body if 8 <= bits < 16), default=None)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and png_texts.is_metadata(body):
            self.texts.append((kind, body))


def walk(data: bytes, max_pixels: int) -> Chunks:
    """The chunks up to the last, or up to where the file cannot be read further.

    Raises:
        ImageError: the header is broken, or the image is too large or unsupported.
    """
    chunks, allowed = Chunks(), _MAX_CHUNKS + len(data) // 1024
    try:
        for number, (kind, body) in enumerate(_chunks(data, chunks)):
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
            chunks.add(kind, body)
    except ImageError as error:
        if not chunks.header or error.category not in ("truncated", "damaged"):
            raise
        chunks.problem = chunks.problem or error
    return chunks


def _chunks(data: bytes, chunks: Chunks) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's kind and its body.

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
            yield kind, body
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
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", header)
    check_size(width, height, max_pixels)
    if max(width, height) > _MAX_SIDE:
        raise ImageError("too large", f"{width} x {height} pixels, {_MAX_SIDE} per side of a PNG")
    if depth not in _DEPTHS.get(color, ()):
        raise ImageError("damaged", f"a PNG of color type {color} and {depth} bits")
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise ImageError("unsupported", "a PNG of another compression, filter or interlacing")
