"""Which way up an image is stored: EXIF's orientation, or else XMP's.

EXIF: CIPA DC-008, tag 0x0112. XMP: the property tiff:Orientation (ISO 16684-1), with the same
numbers; it counts where EXIF states none.
"""

import re
import struct
from typing import NamedTuple, cast

import numpy as np

from cnnjobs.imaging.formats import Gray

#: The property as an attribute and as an element.
_PROPERTY = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")

#: Bytes of XMP that are searched; typical are 10,000.
_MAX_XMP = 1 << 20


class Orientation(NamedTuple):
    """One of EXIF's numbers from 1 to 8, and where it is stated."""

    number: int = 1
    source: str = "EXIF"

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height change places."""
        return self.number >= 5

    @property
    def steps(self) -> tuple[str, ...]:
        """What `upright` does, for people; empty if nothing."""
        if self.number == 1:
            return ()
        return (f"turned by {self.source} orientation {self.number}",)


def stated(exif: bytes, xmp: bytes = b"") -> Orientation:
    """The orientation in the blocks of a file, either of which may be empty or broken."""
    number = exif_orientation(exif)
    if number is not None:
        return Orientation(number)
    found = _PROPERTY.search(xmp, 0, _MAX_XMP)
    return Orientation(int(found[1]), "XMP") if found else Orientation()


def exif_orientation(exif: bytes) -> int | None:
    """The orientation tag in the first directory of an EXIF block; None if there is none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", exif, start)
        for index in range(num_entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * index)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else None
    except struct.error:
        pass
    return None


def upright(image: Gray, orientation: Orientation) -> Gray:
    """Undo an orientation."""
    number = orientation.number
    if orientation.swaps_sides:
        image = image.T
    if number in (2, 3, 6, 7):
        image = image[:, ::-1]
    if number in (3, 4, 7, 8):
        image = image[::-1]
    return cast("Gray", np.ascontiguousarray(image))
