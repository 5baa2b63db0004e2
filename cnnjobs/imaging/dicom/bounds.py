"""Bounds on what pydicom may be made to do by a small DICOM file.

It converts every text of numbers into as many objects, walks through elements, fragments and run
lengths in Python, and inflates without limit.
"""

import io
import struct
import zlib
from typing import TYPE_CHECKING

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.formats import check_size

if TYPE_CHECKING:
    from pydicom import Dataset

#: Elements, fragments and items take about two reads each, and a microsecond or two per read.
_MAX_READS = 200_000

#: Bytes of a value that is converted: a look-up table has 128 KiB, everything else little text.
_MAX_TABLE_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 12

#: Descriptors and data of palettes, segmented or not.
PALETTES = frozenset(
    0x00280000 + low + color for low in (0x1101, 0x1201, 0x1221) for color in range(3)
)

#: These, ModalityLUTSequence and VOILUTSequence; and the group of the pixels, which stay bytes.
_TABLES = frozenset({0x00283000, 0x00283010, *PALETTES})
_PIXELS = 0x7FE0

#: Bytes of a deflated file that stand before its pixels.
_MAX_HEADER = 16 << 20


class Reader(io.BytesIO):
    """Bytes that may be read in so many pieces."""

    _num_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._num_reads += 1
        if self._num_reads > _MAX_READS:
            reason = f"a DICOM file of more than {_MAX_READS // 2} elements or fragments"
            raise ImageError("too large", reason)
        return super().read(size)


class Inflated:
    """A deflated data set, of which no more is inflated than is asked for."""

    def __init__(self, deflated: bytes) -> None:
        self._rest = deflated
        # no header of zlib (PS3.5 section A.5)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return self._inflater.eof or not self._rest

    def header(self) -> bytes:
        """The bytes before the pixels, and as many of these as come along."""
        return self._next(_MAX_HEADER)

    def frame(self, dataset: "Dataset", *, max_pixels: int) -> bytes:
        """The bytes of one frame after the header; raise ImageError if it is too large."""
        names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
        rows, columns, samples, bits = (dataset.get(name) for name in names)
        if not all(isinstance(each, int) for each in (rows, columns, samples, bits)):
            reason = f"a deflated DICOM file whose header has more than {_MAX_HEADER} bytes"
            raise ImageError("too large", reason)
        check_size(columns, rows, max_pixels)
        # no supported kind has more
        size = rows * columns * min(samples, 3) * min(bits, 32) // 8
        memory.take(4 * size)
        return self._next(size)

    def _next(self, most: int) -> bytes:
        try:
            inflated = self._inflater.decompress(self._rest, most)
        except zlib.error:
            raise ImageError("damaged", "a DICOM file: it cannot be inflated") from None
        self._rest = self._inflater.unconsumed_tail
        return inflated


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
