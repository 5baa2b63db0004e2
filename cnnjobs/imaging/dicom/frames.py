"""The stored values of a file's first frame, whatever their transfer syntax."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging.dicom import bounds, codestreams, decoders, numbers
from cnnjobs.imaging.dicom.notes import Notes
from cnnjobs.imaging.dicom.parsing import refusals, refused
from cnnjobs.imaging.formats import jpeg

if TYPE_CHECKING:
    from pydicom import Dataset

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG_ENDIAN)
_RLE = "1.2.840.10008.1.2.5"
_JPEG_2000 = {
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K",
    "1.2.840.10008.1.2.4.202": "HTJ2K",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}

#: The transfer syntaxes that are supported, and their names in messages.
SYNTAXES = {**dict.fromkeys(_NATIVE, "uncompressed"), _RLE: "RLE", **decoders.JPEGS, **_JPEG_2000}


class Samples(NamedTuple):
    """Stored values of one frame: (rows, columns), or (rows, columns, 3) of RGB.

    `shift` is the number of bits below the lowest stored one, BitsStored of which count.
    """

    values: NDArray[Any]
    shift: int


def transfer_syntax(dataset: "Dataset") -> str:
    """The UID of the transfer syntax, also of a bare data set; an ImageError if unsupported."""
    meta = getattr(dataset, "file_meta", None)
    if not meta or "TransferSyntaxUID" not in meta:
        from pydicom import uid

        # only a data set: pydicom detected its encoding from the first bytes
        implicit, little = dataset.original_encoding
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in SYNTAXES:
        raise ImageError("unsupported", "DICOM of an unsupported transfer syntax")
    if syntax == _BIG_ENDIAN and dataset.BitsAllocated > 16:
        # pydicom turns all bytes of a sample round, dcmtk those of each word (PS3.5 section 8.2)
        raise ImageError("unsupported", "DICOM of 32 bits per sample in big-endian order")
    return syntax


def first(dataset: "Dataset", syntax: str, notes: Notes, *, keep_damaged: bool) -> Samples:
    """Decode the first frame.

    Raises:
        ImageError: it is damaged, or truncated and not to be kept.
    """
    frame = _frame(dataset, syntax, notes, keep_damaged)
    precision = dataset.BitsAllocated
    if syntax in decoders.JPEGS:
        frame, precision = codestreams.jpeg(frame, notes)
    elif syntax in _JPEG_2000:
        precision = codestreams.jpeg_2000_precision(frame)
    elif syntax == _RLE:
        bounds.check_run_lengths(frame, dataset.Rows * dataset.Columns)
    if syntax not in (*_NATIVE, _RLE):
        codestreams.check(frame, dataset, is_jpeg=syntax in decoders.JPEGS)
    values = _decoded(dataset, syntax, frame, precision, notes, keep_damaged)
    # a compressed frame of few bits has no others, whatever HighBit says
    shift = dataset.HighBit + 1 - dataset.BitsStored if precision > dataset.BitsStored else 0
    if shift:
        notes.step(f"shifted by {shift} bits: HighBit is {dataset.HighBit}")
    return Samples(values, shift)


def _frame(dataset: "Dataset", syntax: str, notes: Notes, keep_damaged: bool) -> bytes:
    """Bytes of the first frame: uncompressed ones complete, compressed ones as they are."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_expected_length

    num_frames = numbers.num_frames(dataset, notes)
    # the data set then has one frame
    dataset.NumberOfFrames = 1
    if num_frames > 1:
        notes.warn(f"the first of {num_frames} frames")
        notes.step(f"frame 1 of {num_frames}")
    try:
        expected = get_expected_length(dataset)
        if syntax in _NATIVE:
            # one whole frame, with the byte that pads it to an even length
            pixels = dataset.PixelData if num_frames == 1 else dataset.PixelData[:expected]
            return _native(pixels, expected, notes, keep_damaged)
        bounds.check_offsets(dataset.PixelData, num_frames)
        reader = bounds.Reader(dataset.PixelData)
        return get_frame(reader, 0, number_of_frames=num_frames)
    except refusals() as error:
        raise refused("its frames cannot be separated", error) from None


def _native(pixels: bytes, expected: int, notes: Notes, keep_damaged: bool) -> bytes:
    if len(pixels) >= expected:
        return pixels
    reason = f"a DICOM file: {expected - len(pixels)} bytes of its pixels are missing"
    problem = ImageError("truncated", reason)
    if not keep_damaged:
        raise problem
    notes.warn(str(problem))
    return pixels.ljust(expected, b"\0")


def _decoded(
    dataset: "Dataset",
    syntax: str,
    frame: bytes,
    precision: int,
    notes: Notes,
    keep_damaged: bool,
) -> NDArray[Any]:
    if syntax == decoders.BASELINE and dataset.SamplesPerPixel == 1 and dataset.BitsAllocated == 8:
        # libjpeg-turbo detects damage
        size = dataset.Rows * dataset.Columns
        picture = jpeg.read(frame, max_pixels=size, keep_damaged=keep_damaged)
        if picture.warning:
            notes.warn(picture.warning)
        return picture.gray.view(np.int8) if dataset.PixelRepresentation else picture.gray
    from pydicom.encaps import encapsulate
    from pydicom.pixels.utils import pixel_array

    stored, high = dataset.BitsStored, dataset.HighBit
    plugin = ""
    try:
        if syntax in decoders.JPEGS:
            decoders.add(syntax)
            plugin = decoders.PLUGIN
        dataset.PixelData = frame if syntax in _NATIVE else encapsulate([frame])
        if precision > stored:
            # pydicom 3.0 keeps the lowest BitsStored, whatever HighBit says (pull request 2066)
            dataset.BitsStored = min(precision, dataset.BitsAllocated)
            dataset.HighBit = dataset.BitsStored - 1
        values = np.asarray(pixel_array(dataset, index=0, decoding_plugin=plugin))
    except refusals() as error:
        raise refused("its pixels cannot be decoded", error) from None
    finally:
        dataset.BitsStored, dataset.HighBit = stored, high
    if values.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ImageError("damaged", "a DICOM file: its pixels have a different size")
    return values
