"""DICOM (the extra `dicom`): a radiograph as it is meant to be shown, without patient data.

Errors and log lines never contain pydicom's text or values from the file: both can contain names.
The steps follow PS3.3 and PS3.4 annex N.2: stored values, modality LUT, VOI LUT or window, then
MONOCHROME1 inverted.
"""

import hashlib
import hmac
import logging
import struct
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom_bounds, dicom_display, memory
from cnnjobs.imaging.formats import Picture, check_size, jpeg

if TYPE_CHECKING:
    from pydicom import Dataset

#: Computed, digital and film radiographs (PS3.3 C.7.3.1.1.1).
RADIOGRAPHS = ("CR", "DX", "RG")

#: Modalities that an error may name; any other value could be arbitrary text.
_NAMED = (
    *("CT", "ES", "IO", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OT", "PR", "PT", "PX"),
    *("RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC"),
)

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

_DEFLATED = b"1.2.840.10008.1.2.1.99"

#: Transfer syntaxes that are supported.
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_RLE = "1.2.840.10008.1.2.5"
_JPEGS = (
    _JPEG_BASELINE,
    "1.2.840.10008.1.2.4.51",  # extended: 12 bits
    "1.2.840.10008.1.2.4.57",  # lossless
    "1.2.840.10008.1.2.4.70",  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",
)
_JPEG_2000 = (
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    # high-throughput JPEG 2000
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
)

_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

#: The attributes that pixels depend on; no others are kept when a file is read.
_ATTRIBUTES = [
    *("Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData"),
]

#: What pydicom and its decoders raise on malformed files.
_REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError),
    *(NameError, OSError, RuntimeError, TypeError, ValueError, struct.error),
)


def read(
    data: bytes, *, max_pixels: int, keep_damaged: bool = False, any_modality: bool = False
) -> Picture:
    """The first frame as 8-bit gray, as it is meant to be shown.

    Args:
        data: the file.
        max_pixels: largest number of pixels that the header may state.
        keep_damaged: accept truncated pixel data; missing pixels are zero.
        any_modality: accept all modalities, not only radiographs.

    Raises:
        ImageError: without the extra; or the file is too large, damaged, truncated or unsupported.
    """
    dataset = parse(data, _ATTRIBUTES)
    _check_image(dataset)
    if not any_modality:
        _check_modality(dataset)
    syntax = _check_kind(dataset, max_pixels)
    # stored values as bytes and as numbers, of a frame, and gray
    sample_bytes = dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    memory.take((3 * sample_bytes + 1) * dataset.Rows * dataset.Columns)
    num_frames = _num_frames(dataset)
    frame, cut = _first_frame(dataset, syntax, num_frames, keep_damaged)
    stored, damage = _stored_values(dataset, syntax, frame, keep_damaged)
    try:
        gray = dicom_display.shown(dataset, stored)
    except _refusals() as error:
        raise _refused("its window or look-up table cannot be used", error) from None
    several = f"the first of {num_frames} frames" if num_frames > 1 else None
    return Picture(gray, dataset.Columns, dataset.Rows, cut or damage or several)


def patient_group(data: bytes, key: bytes) -> str | None:
    """A group name that keeps a patient's images together without identifying the patient.

    The first half of HMAC-SHA256 of PatientID under `key`, as 32 hexadecimal digits. A plain hash
    would not be safe, because all patient numbers of a hospital can be tried. None without
    PatientID.

    Raises:
        ImageError: the extra is missing, or the file cannot be read.
    """
    dataset = parse(data, ["PatientID"], pixels=False)
    try:
        patient = str(dataset.get("PatientID") or "").strip()
    except _refusals() as error:
        raise _refused("its PatientID cannot be read", error) from None
    if not patient:
        return None
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:32]


def parse(data: bytes, attributes: list[Any], *, pixels: bool = True) -> "Dataset":
    """The needed attributes of a file and no others; an ImageError if it cannot be parsed."""
    try:
        import pydicom
    except ImportError:
        extra = "DICOM needs the extra: pip install 'cnnjobs[dicom]'"
        raise ImageError("unsupported", extra) from None
    if _DEFLATED in data:
        # pydicom inflates it completely, however large it gets, before anything can be checked
        raise ImageError("unsupported", "deflated DICOM")
    _silence()
    try:
        dataset = pydicom.dcmread(
            dicom_bounds.Reader(data),
            specific_tags=attributes,
            stop_before_pixels=not pixels,
            force=True,
        )
        dicom_bounds.check_lengths(dataset)
        # values are converted on access: do it here, where errors are expected
        for attribute in attributes:
            dataset.get(attribute)
        return dataset
    except _refusals() as error:
        raise _refused("it cannot be parsed", error) from None


def _silence() -> None:
    """Keep pydicom's warnings, which quote values, off stderr and out of every log.

    Done on each call, because workers and tests set their own filters and loggers.
    """
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom|openjpeg|libjpeg|cnnjobs\.(dicom|display)")
    for name in ("pydicom", "libjpeg", "openjpeg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _refusals() -> tuple[type[Exception], ...]:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*_REFUSALS, BytesLengthException, InvalidDicomError)


def _refused(what: str, error: Exception) -> ImageError:
    category = "truncated" if isinstance(error, EOFError) else "damaged"
    return ImageError(category, f"a DICOM file: {what} ({type(error).__name__})")


def _check_image(dataset: "Dataset") -> None:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError("unsupported", "float pixels of a DICOM have no defined gray range")
    if "Rows" not in dataset and "PixelData" not in dataset:
        raise ImageError("not an image", "a DICOM object without pixels, or truncated before them")


def _check_modality(dataset: "Dataset") -> None:
    modality = str(dataset.get("Modality") or "").strip()
    if modality not in RADIOGRAPHS:
        named = f"modality {modality}" if modality in _NAMED else "no known modality"
        accepted = ", ".join(RADIOGRAPHS)
        raise ImageError("unsupported", f"DICOM of {named}; {accepted} are radiographs")


def _check_kind(dataset: "Dataset", max_pixels: int) -> str:
    """The transfer syntax, once everything in the header has been checked.

    Raises:
        ImageError: there is no image, or it is too large or of an unsupported kind.
    """
    for name in ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel"):
        if not isinstance(dataset.get(name), int):
            raise ImageError("damaged", f"a DICOM file: {name} is missing")
    check_size(dataset.Columns, dataset.Rows, max_pixels)
    if not dataset.get("PixelData"):
        raise ImageError("truncated", "a DICOM file: its pixels are missing")
    bits, stored = dataset.BitsAllocated, dataset.get("BitsStored")
    if bits not in (8, 16, 32) or not isinstance(stored, int) or not 1 <= stored <= bits:
        raise ImageError("unsupported", f"DICOM of {bits} bits per sample")
    if dataset.get("PixelRepresentation") not in (0, 1):
        raise ImageError("damaged", "a DICOM file: PixelRepresentation is missing")
    known = {1: ("MONOCHROME1", "MONOCHROME2"), 3: _COLORS}.get(dataset.SamplesPerPixel, ())
    if dataset.get("PhotometricInterpretation") not in known:
        raise ImageError("unsupported", "DICOM of an unsupported photometric interpretation")
    return _transfer_syntax(dataset)


def _transfer_syntax(dataset: "Dataset") -> str:
    meta = getattr(dataset, "file_meta", None)
    if not meta or "TransferSyntaxUID" not in meta:
        from pydicom import uid

        # only a data set: pydicom detected its encoding from the first bytes
        implicit, little = dataset.original_encoding
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in (*_NATIVE, _RLE, *_JPEGS, *_JPEG_2000):
        raise ImageError("unsupported", "DICOM of an unsupported transfer syntax")
    return syntax


def _num_frames(dataset: "Dataset") -> int:
    """Return NumberOfFrames and remove it from the data set, which then has one frame."""
    try:
        number = int(dataset.get("NumberOfFrames") or 1)
    except _refusals() as error:
        raise _refused("its number of frames is not a number", error) from None
    dataset.NumberOfFrames = 1
    return number


def _first_frame(
    dataset: "Dataset", syntax: str, num_frames: int, keep_damaged: bool
) -> tuple[bytes, str | None]:
    """Bytes of the first frame: uncompressed ones complete, compressed ones of the stated size."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_expected_length

    try:
        expected = get_expected_length(dataset)
        if syntax in _NATIVE:
            # one whole frame, with the byte that pads it to an even length
            pixels = dataset.PixelData if num_frames == 1 else dataset.PixelData[:expected]
            return _native(pixels, expected, keep_damaged)
        dicom_bounds.check_offsets(dataset.PixelData, num_frames)
        reader = dicom_bounds.Reader(dataset.PixelData)
        frame = get_frame(reader, 0, number_of_frames=num_frames)
    except _refusals() as error:
        raise _refused("its frames cannot be separated", error) from None
    if syntax == _RLE:
        dicom_bounds.check_run_lengths(frame, dataset.Rows * dataset.Columns)
    size = _compressed_size(frame, syntax, dataset.SamplesPerPixel)
    if size is not None and size != (dataset.Columns, dataset.Rows):
        raise ImageError("damaged", "a DICOM file: its compressed image has a different size")
    return frame, None


def _native(pixels: bytes, expected: int, keep_damaged: bool) -> tuple[bytes, str | None]:
    if len(pixels) >= expected:
        return pixels, None
    reason = f"a DICOM file: {expected - len(pixels)} bytes of its pixels are missing"
    problem = ImageError("truncated", reason)
    if not keep_damaged:
        raise problem
    return pixels.ljust(expected, b"\0"), str(problem)


def _compressed_size(frame: bytes, syntax: str, samples: int) -> tuple[int, int] | None:
    """Width and height in the header of the compressed image itself, which its decoder obeys."""
    if syntax == _RLE:
        return None
    if syntax in _JPEGS:
        return jpeg.frame_size(frame)
    # SOC and SIZ markers (ISO/IEC 15444-1, A.5.1), also inside a JP2 file
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 > len(frame):
        raise ImageError("damaged", "a DICOM file: its JPEG 2000 image has no header")
    right, bottom, left, top = struct.unpack_from(">IIII", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    if components != samples:
        raise ImageError("damaged", "a DICOM file: its compressed image has other components")
    return right - left, bottom - top


def _stored_values(
    dataset: "Dataset", syntax: str, frame: bytes, keep_damaged: bool
) -> tuple[Any, str | None]:
    """Samples of the first frame: (rows, columns) or (rows, columns, 3) of RGB."""
    if syntax == _JPEG_BASELINE and dataset.SamplesPerPixel == 1 and dataset.BitsAllocated == 8:
        # libjpeg-turbo detects damage
        size = dataset.Rows * dataset.Columns
        picture = jpeg.read(frame, max_pixels=size, keep_damaged=keep_damaged)
        return picture.gray, picture.warning
    from pydicom.encaps import encapsulate
    from pydicom.pixels.utils import pixel_array

    try:
        dataset.PixelData = frame if syntax in _NATIVE else encapsulate([frame])
        samples = pixel_array(dataset, index=0)
    except _refusals() as error:
        raise _refused("its pixels cannot be decoded", error) from None
    if samples.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ImageError("damaged", "a DICOM file: its pixels have a different size")
    return np.asarray(samples), None
