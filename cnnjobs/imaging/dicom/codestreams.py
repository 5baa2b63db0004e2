"""The headers of compressed frames, which their decoders obey whatever DICOM's header says."""

import struct
from typing import TYPE_CHECKING

from cnnjobs.errors import ImageError
from cnnjobs.imaging.dicom.notes import Notes
from cnnjobs.imaging.formats import jpeg as jpeg_format

if TYPE_CHECKING:
    from pydicom import Dataset

_SCAN = 0xDA

#: Frame headers of sequential DCT: baseline and extended, Huffman and arithmetic (T.81 table B.1).
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)

#: All frame headers: 0xC0 to 0xCF except the table segments, and JPEG-LS (T.87).
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}

#: Spectral selection and successive approximation of every sequential scan (T.81 table B.3).
_WHOLE = bytes((0, 63, 0))


def check(frame: bytes, dataset: "Dataset", *, is_jpeg: bool) -> None:
    """Raise ImageError if a compressed image has another size than the data set."""
    width, height = jpeg_format.frame_size(frame) if is_jpeg else _jpeg_2000_size(frame, dataset)
    if (width, height) != (dataset.Columns, dataset.Rows):
        raise ImageError("damaged", "a DICOM file: its compressed image has a different size")


def jpeg(frame: bytes, notes: Notes) -> tuple[bytes, int]:
    """A JPEG or JPEG-LS that decoders accept, and its bits per sample.

    Some radiographs of 12 bits state other parameters in the header of their sequential scan than
    the only ones allowed; decoders refuse these (pylibjpeg issue 73), dcmtk ignores them.

    Raises:
        ImageError: it has no frame header.
    """
    position, kind, precision = 2, 0, 0
    while position + 4 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker in _FRAMES and not kind:
            kind, precision = marker, frame[min(position + 4, len(frame) - 1)]
        elif marker == _SCAN:
            if kind in _SEQUENTIAL and frame[end - 3 : end] != _WHOLE and end <= len(frame):
                notes.warn("the JPEG's scan states odd parameters, which are ignored")
                frame = frame[: end - 3] + _WHOLE + frame[end:]
            break
        position = end
    if not precision:
        raise ImageError("damaged", "the JPEG has no frame header")
    return frame, precision


def jpeg_2000_precision(frame: bytes) -> int:
    """Bits per sample of the first component (ISO/IEC 15444-1, table A.11)."""
    start = _jpeg_2000_header(frame)
    return (frame[start + 42] & 0x7F) + 1


def _jpeg_2000_size(frame: bytes, dataset: "Dataset") -> tuple[int, int]:
    start = _jpeg_2000_header(frame)
    right, bottom, left, top = struct.unpack_from(">IIII", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    if components != dataset.SamplesPerPixel:
        raise ImageError("damaged", "a DICOM file: its compressed image has other components")
    return right - left, bottom - top


def _jpeg_2000_header(frame: bytes) -> int:
    """Where its SOC and SIZ markers are (ISO/IEC 15444-1, A.5.1), also inside a JP2 file."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 43 > len(frame):
        raise ImageError("damaged", "a DICOM file: its JPEG 2000 image has no header")
    return start
