"""Bounds on what pydicom may be made to do by a small DICOM file.

It converts every text of numbers into as many objects, and walks through elements, fragments and
run lengths in Python.
"""

import io
import struct
from typing import TYPE_CHECKING

from cnnjobs.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

#: Elements, fragments and items take about two reads each, and a microsecond or two per read.
_MAX_READS = 200_000

#: Bytes of a value that is converted: a look-up table has 128 KiB, everything else little text.
_MAX_TABLE_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 12

#: ModalityLUTSequence and VOILUTSequence, and the group of the pixels, which stay bytes.
_TABLES = (0x00283000, 0x00283010)
_PIXELS = 0x7FE0


class Reader(io.BytesIO):
    """Bytes that may be read in so many pieces."""

    _num_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._num_reads += 1
        if self._num_reads > _MAX_READS:
            reason = f"a DICOM file of more than {_MAX_READS // 2} elements or fragments"
            raise ImageError("too large", reason)
        return super().read(size)


def check_lengths(dataset: "Dataset") -> None:
    """Raise ImageError if a value would become too many objects when it is converted."""
    for tag in list(dataset.keys()):
        if tag.group == _PIXELS:
            continue
        most = _MAX_TABLE_BYTES if tag in _TABLES else _MAX_TEXT_BYTES
        value = dataset.get_item(tag).value
        # a sequence of undefined length has been separated into its items
        items = value if tag in _TABLES and not isinstance(value, bytes | None) else ()
        values = [item.get_item(inner).value for item in items for inner in list(item.keys())]
        for each in (value, *values):
            if isinstance(each, bytes) and len(each) > most:
                reason = f"a DICOM file with a value of {len(each)} bytes, {most} are allowed"
                raise ImageError("too large", reason)


def check_offsets(pixel_data: bytes, num_frames: int) -> None:
    """Raise ImageError if the table of the frames' offsets has more than one for each frame."""
    (length,) = struct.unpack_from("<I", pixel_data, 4)
    if length > 4 * max(num_frames, 1):
        raise ImageError("damaged", "a DICOM file: its table of frames is too long")


def check_run_lengths(frame: bytes, size: int) -> None:
    """Raise ImageError if a segment of an RLE frame becomes more than `size` bytes.

    PS3.5 annex G: the number of segments and their 15 offsets, then PackBits.
    """
    number, *offsets = struct.unpack_from("<16I", frame)
    ends = [*offsets[1:number], len(frame)]
    for start, end in zip(offsets[:number], ends, strict=False):
        position, length = start, 0
        # segments are padded to an even length, whose byte may be taken for a run
        while position < min(end, len(frame)) and length <= size + 128:
            code = frame[position]
            position += 2 if code > 128 else code + 2 if code < 128 else 1
            length += 257 - code if code > 128 else code + 1 if code < 128 else 0
        if length > size + 128:
            raise ImageError("damaged", "a DICOM file: its run lengths have too many pixels")
