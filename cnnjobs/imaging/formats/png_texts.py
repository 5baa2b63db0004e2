"""Metadata in the texts of a PNG: XMP, and the profiles that ImageMagick writes in hexadecimal.

ISO/IEC 15948, 11.3.4 (tEXt, zTXt, iTXt); Adobe XMP part 3, 1.1.5 ("XML:com.adobe.xmp").
"""

import zlib
from collections.abc import Iterable

_XMP, _PROFILE = b"XML:com.adobe.xmp", b"Raw profile type "

#: Before EXIF and XMP in an APP1 segment of JPEG, which ImageMagick copies.
_EXIF_START, _XMP_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

#: Inflated bytes of a text; the rest is ignored.
_MAX_TEXT = 1 << 20


def is_metadata(body: memoryview) -> bool:
    """Whether the body of a text chunk may hold EXIF or XMP."""
    return bytes(body[: len(_XMP)]) == _XMP or bytes(body[: len(_PROFILE)]) == _PROFILE


def exif_and_xmp(texts: Iterable[tuple[bytes, memoryview]]) -> tuple[bytes, bytes]:
    """The first EXIF and the first XMP in text chunks (kind, body); empty if there is none."""
    exif = xmp = b""
    for kind, body in texts:
        keyword, _, rest = bytes(body).partition(b"\0")
        text = _text(kind, rest)
        if keyword == _XMP:
            xmp = xmp or text
            continue
        profile = _profile(text)
        if keyword.endswith(b" xmp") or profile.startswith(_XMP_START):
            xmp = xmp or profile
        elif keyword.endswith(b" exif") or profile.startswith(_EXIF_START):
            exif = exif or profile
    return exif, xmp


def _text(kind: bytes, rest: bytes) -> bytes:
    """What follows the keyword, inflated; as much of it as can be."""
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        # a flag, a method, then a language and a translated keyword, each with a zero after it
        compressed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif compressed:
        rest = rest[1:]
    if not compressed:
        return rest[:_MAX_TEXT]
    try:
        return zlib.decompressobj().decompress(rest, _MAX_TEXT)
    except zlib.error:
        return b""


def _profile(text: bytes) -> bytes:
    """A profile, written as its name, its length, and its bytes in hexadecimal."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""
