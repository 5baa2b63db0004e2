"""What a JPEG says besides its pixels: its orientation; and the file without the rest."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats.orientation import Orientation, stated

_APP0, _APP1, _APP14, _COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

#: APP0 of JFIF 1.02 (T.871) without a thumbnail: it says only that three components are YCbCr.
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\2\0\0\1\0\1\0\0"

#: Where APP14 of Adobe states the transform of colors (T.872, 6.5.3), and which ones there are by
#: number of components: none, and to YCbCr or YCCK.
_TRANSFORM, _TRANSFORMS = 11, {3: (0, 1), 4: (0, 2)}


@dataclass
class Metadata:
    """The first EXIF and the first XMP block."""

    exif: bytes = b""
    xmp: bytes = b""

    def add(self, marker: int, data: bytes, start: int, end: int) -> None:
        """Look at one segment, whose body is data[start:end]."""
        if marker != _APP1:
            return
        if not self.exif and data.startswith(_EXIF, start):
            self.exif = data[start:end]
        elif not self.xmp and data.startswith(_XMP, start):
            self.xmp = data[start:end]

    def orientation(self) -> Orientation:
        """EXIF's orientation, or else XMP's."""
        return stated(self.exif, self.xmp)


def without(data: bytes, segments: Iterable[tuple[int, int, int]], num_components: int) -> bytes:
    """The file without metadata, but with what its colors depend on, put right.

    Args:
        data: the file.
        segments: markers, and start and end of their bodies.
        num_components: of a pixel.
    """
    parts, position = [], 0
    known = _TRANSFORMS.get(num_components, range(256))
    # what follows damage stays as it is
    with contextlib.suppress(ImageError):
        for marker, start, end in segments:
            if not (_APP0 <= marker <= 0xEF or marker == _COMMENT):
                continue
            # the marker and the length stand before the body
            parts.append(data[position : start - 4])
            position = end
            if marker == _APP0 and data.startswith(b"JFIF\0", start):
                parts.append(_JFIF)
            elif marker == _APP14 and data.startswith(b"Adobe", start):
                whole = bytearray(data[start - 4 : end])
                if end - start > _TRANSFORM and whole[4 + _TRANSFORM] not in known:
                    whole[4 + _TRANSFORM] = known[1]
                parts.append(bytes(whole))
    return b"".join([*parts, data[position:]])
