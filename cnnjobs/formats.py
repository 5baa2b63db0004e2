"""What a file's own structure tells before its pixels are decoded: size, alpha, end, upright.

OpenCV allocates what a header asks for, and decodes a JPEG cut in its scan to half a picture
with only a line on stderr; so whole files are told from others here.
"""

import contextlib
import struct
import zlib

from cnnjobs.errors import ImageError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
BMP, RIFF = b"BM", b"RIFF"
TIFF = (b"II*\0", b"MM\0*")

#: Start-of-frame markers, which hold a JPEG's size: all of 0xC0 to 0xCF but the table segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_png(data: bytes, max_pixels: int) -> None:
    """Walk a PNG's chunks (ISO/IEC 15948): complete, and with the right checksums."""
    position, color, kind = len(PNG), 0, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageError("truncated", "the PNG ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise ImageError("truncated", "the PNG ends before its last chunk")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ImageError("damaged", f"a {kind.decode('latin-1')} chunk has a wrong checksum")
        if kind == b"IHDR" and length >= 13:
            width, height, _, color = struct.unpack_from(">IIBB", data, position + 8)
            check_size(width, height, max_pixels)
        if kind == b"tRNS" and color == 0:
            raise ImageError("unsupported", "one gray value of the PNG is transparent")
        position = end + 4


def check_jpeg(data: bytes, max_pixels: int) -> None:
    """Walk a JPEG's segments (ITU-T T.81, annex B) to its scan, which must have an end.

    OpenCV decodes a JPEG cut in its scan to half a picture and only prints about it.
    """
    position = 2
    while True:
        if position + 4 > len(data):
            raise ImageError("truncated", "the JPEG ends before its pixels")
        if data[position] != 0xFF:
            raise ImageError("damaged", "a JPEG marker is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _FRAMES and position + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 5)
            check_size(width, height, max_pixels)
        if marker == 0xDA:
            break
        position += 2 + length
    # in a scan every 0xFF byte is followed by 0 or a restart marker: this can only be the end
    if data.find(b"\xff\xd9", position) < 0:
        raise ImageError("truncated", "the JPEG's scan has no end")


def check_other(data: bytes, max_pixels: int) -> None:
    """Refuse a BMP, WebP or TIFF that is too large by its own header."""
    size = None
    with contextlib.suppress(struct.error):
        if data.startswith(BMP):
            (kind,) = struct.unpack_from("<I", data, 14)
            size = struct.unpack_from("<HH" if kind == 12 else "<ii", data, 18)
        elif data.startswith(TIFF):
            tags = _tiff_tags(data)
            size = tags.get(0x0100, 0), tags.get(0x0101, 0)
            if tags.get(0x0115) == 2:
                raise ImageError("unsupported", "OpenCV misreads a TIFF of gray and alpha")
            if tags.get(0x0106) == 0 and tags.get(0x0102) == 16:
                raise ImageError("unsupported", "a 16-bit TIFF in which 0 is white")
        elif data.startswith(RIFF):
            size = _webp_size(data)
    if size is not None:
        check_size(abs(size[0]), abs(size[1]), max_pixels)


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The numbers that stand right in the first directory, by tag (TIFF 6.0)."""
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", data, start)
    tags = {}
    for position in range(start + 2, start + 2 + 12 * num_entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, position)
        if count == 1 and kind in (3, 4):
            (tags[tag],) = struct.unpack_from(order + " HI"[kind - 2], data, position + 8)
    return tags


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas in the first chunk (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        one, two = data[24:27], data[27:30]
        return int.from_bytes(one, "little") + 1, int.from_bytes(two, "little") + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError if an image has more pixels than are allowed."""
    if width * height > max_pixels:
        raise ImageError("too large", f"{width} x {height} pixels, {max_pixels} are allowed")


def exif_orientation(exif: bytes) -> int:
    """The orientation tag in the first directory of an EXIF block; 1 if there is none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", exif, start)
        for index in range(num_entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * index)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
