"""What a file's own structure tells before its pixels are decoded: size, alpha, end, upright.

OpenCV allocates what a header asks for, and decodes a JPEG cut in its scan to half a picture
with only a line on stderr; so whole files are told from others here.
"""

import struct
import zlib

from cnnjobs.errors import ImageError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"

#: Start-of-frame markers, which hold a JPEG's size: all of 0xC0 to 0xCF but the table segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_png(data: bytes, max_pixels: int) -> bool:
    """Walk a PNG's chunks (ISO/IEC 15948): complete, checksums right. True if it has alpha."""
    position, has_alpha, kind = len(PNG), False, b""
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
            has_alpha |= color in (4, 6)
        has_alpha |= kind == b"tRNS"
        position = end + 4
    return has_alpha


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
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data.ljust(position + 9), position + 5)
            check_size(width, height, max_pixels)
        if marker == 0xDA:
            break
        position += 2 + length
    # in a scan every 0xFF byte is followed by 0 or a restart marker: this can only be the end
    if data.find(b"\xff\xd9", position) < 0:
        raise ImageError("truncated", "the JPEG's scan has no end")


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
