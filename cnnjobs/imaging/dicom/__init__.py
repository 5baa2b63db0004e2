"""DICOM (the extra `dicom`): a radiograph as it is meant to be shown, without patient data.

Errors, warnings and steps never contain pydicom's text or texts from the file: both can contain
names. The steps follow PS3.3 and PS3.4 annex N.2: stored values, modality LUT, VOI LUT or window,
then inversion.
"""

import hashlib
import hmac
from typing import TYPE_CHECKING

from cnnjobs.errors import ImageError
from cnnjobs.imaging import memory
from cnnjobs.imaging.dicom import display, frames
from cnnjobs.imaging.dicom.notes import Notes
from cnnjobs.imaging.dicom.parsing import parse, refusals, refused
from cnnjobs.imaging.formats import Picture, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["RADIOGRAPHS", "hashed", "identifier", "parse", "patient_group", "read"]

#: Computed, digital and film radiographs (PS3.3 C.7.3.1.1.1).
RADIOGRAPHS = ("CR", "DX", "RG")

#: Modalities that a message may name; any other value could be arbitrary text.
_NAMED = (
    *RADIOGRAPHS,
    *("CT", "ES", "IO", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OT", "PR", "PT", "PX"),
    *("RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC"),
)

#: Numbers that levels depend on.
_COUNTING = frozenset({"RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"})

_PHOTOMETRIC = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}

#: The attributes that pixels depend on; no others are kept when a file is read.
_ATTRIBUTES = [
    *("Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "PresentationLUTShape"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *(f"Segmented{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData"),
]


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
    dataset, unreadable = parse(data, _ATTRIBUTES, max_pixels=max_pixels)
    _check_image(dataset)
    modality = str(dataset.get("Modality") or "").strip()
    named = modality if modality in _NAMED else None
    if modality not in RADIOGRAPHS and not any_modality:
        found, accepted = f"modality {named}" if named else "no known modality", RADIOGRAPHS
        raise ImageError("unsupported", f"DICOM of {found}; {', '.join(accepted)} are radiographs")
    _check_kind(dataset, max_pixels, unreadable)
    syntax = frames.transfer_syntax(dataset)
    # stored values as bytes and as numbers, of a frame, and gray
    sample_bytes = dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    memory.take((3 * sample_bytes + 1) * dataset.Rows * dataset.Columns)
    notes = Notes()
    notes.step(_kind(dataset, named, frames.SYNTAXES[syntax]))
    for name in unreadable:
        notes.warn(f"{name} cannot be read and is ignored")
    samples = frames.first(dataset, syntax, notes, keep_damaged=keep_damaged)
    try:
        gray = display.shown(dataset, samples, notes)
    except refusals():
        raise ImageError("damaged", "a DICOM file: its pixels cannot be shown") from None
    steps, warning = tuple(notes.steps), "; ".join(notes.warnings) or None
    return Picture(gray, dataset.Columns, dataset.Rows, warning, steps=steps)


def patient_group(data: bytes, key: bytes) -> str | None:
    """A group name that keeps a patient's images together without identifying the patient.

    The first half of HMAC-SHA256 of PatientID under `key`, as 32 hexadecimal digits. A plain hash
    would not be safe, because all patient numbers of a hospital can be tried. None without
    PatientID.

    Raises:
        ImageError: the extra is missing, or the file cannot be read.
    """
    patient = identifier(data, "PatientID")
    return hashed(patient, key) if patient else None


def hashed(patient: str, key: bytes) -> str:
    """The group name of a patient's number; see `patient_group`."""
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:32]


def identifier(data: bytes, name: str) -> str | None:
    """An attribute that identifies a patient, a study or an image, never to be written anywhere.

    Raises:
        ImageError: the extra is missing, or the file cannot be read.
    """
    dataset, ignored = parse(data, [name])
    if ignored:
        raise ImageError("damaged", f"a DICOM file: its {name} cannot be read")
    try:
        return str(dataset.get(name) or "").strip() or None
    except refusals() as error:
        raise refused(f"its {name} cannot be read", error) from None


def _check_image(dataset: "Dataset") -> None:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError("unsupported", "float pixels of a DICOM have no defined gray range")
    if "Rows" not in dataset and "PixelData" not in dataset:
        raise ImageError("not an image", "a DICOM object without pixels, or truncated before them")


def _check_kind(dataset: "Dataset", max_pixels: int, unreadable: list[str]) -> None:
    """Check everything in the header that pixels depend on.

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
    high = dataset.get("HighBit")
    if high is None:
        dataset.HighBit = stored - 1
    elif not isinstance(high, int) or not stored <= high + 1 <= bits:
        # PS3.5 section 8.1.1
        raise ImageError("damaged", f"a DICOM file: HighBit does not fit {stored} of {bits} bits")
    if dataset.get("PixelRepresentation") not in (0, 1):
        raise ImageError("damaged", "a DICOM file: PixelRepresentation is missing")
    for name in _COUNTING.intersection(unreadable):
        raise ImageError("damaged", f"a DICOM file: {name} is not a number")
    if dataset.SamplesPerPixel > 1 and dataset.PixelRepresentation:
        raise ImageError("unsupported", "DICOM of color with a sign")
    known = _PHOTOMETRIC.get(dataset.SamplesPerPixel, ())
    if dataset.get("PhotometricInterpretation") not in known:
        raise ImageError("unsupported", "DICOM of an unsupported photometric interpretation")


def _kind(dataset: "Dataset", modality: str | None, syntax: str) -> str:
    kind = f"DICOM {modality}" if modality else "DICOM of no known modality"
    signed = ", signed" if dataset.PixelRepresentation else ""
    bits = f"{dataset.BitsStored} of {dataset.BitsAllocated} bits{signed}"
    return f"{kind}, {bits}, {dataset.PhotometricInterpretation}, {syntax}"
