"""From the bytes of a file to the attributes that are needed, with pydicom kept quiet."""

import logging
import struct
import warnings
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import ImageError
from cnnjobs.imaging.dicom import bounds

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1"

#: What pydicom and its decoders raise on malformed files.
_REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError),
    *(NameError, OSError, RuntimeError, TypeError, ValueError, struct.error),
)


def parse(
    data: bytes, attributes: list[Any], *, max_pixels: int | None = None
) -> tuple["Dataset", list[str]]:
    """The needed attributes of a file and no others, and the names of those that are unreadable.

    Args:
        data: the file.
        attributes: their names.
        max_pixels: largest number of pixels that the header may state; None reads no pixels.

    Raises:
        ImageError: the extra is missing, or the file cannot be parsed.
    """
    try:
        import pydicom
    except ImportError:
        extra = "DICOM needs the extra: pip install 'cnnjobs[dicom]'"
        raise ImageError("unsupported", extra) from None
    _silence()
    try:
        data = _inflated(data, max_pixels)
        dataset = pydicom.dcmread(
            bounds.Reader(data),
            specific_tags=attributes,
            stop_before_pixels=max_pixels is None,
            force=True,
        )
        bounds.check_lengths(dataset)
    except refusals() as error:
        raise refused("it cannot be parsed", error) from None
    return dataset, _without_unreadable(dataset)


def refusals() -> tuple[type[Exception], ...]:
    """What pydicom and its decoders raise on malformed files."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*_REFUSALS, BytesLengthException, InvalidDicomError)


def refused(what: str, error: Exception) -> ImageError:
    """The error that a user sees in place of pydicom's, whose text can contain names."""
    category = "truncated" if isinstance(error, EOFError) else "damaged"
    return ImageError(category, f"a DICOM file: {what}")


def _silence() -> None:
    """Keep pydicom's warnings, which quote values, off stderr and out of every log.

    Done on each call, because workers and tests set their own filters and loggers.
    """
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom|openjpeg|cnnjobs\.imaging\.dicom")
    for name in ("pydicom", "openjpeg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _without_unreadable(dataset: "Dataset") -> list[str]:
    """Convert all values, which happens on access; remove and name those that do not convert."""
    from pydicom.datadict import keyword_for_tag

    unreadable = []
    for tag in list(dataset.keys()):
        try:
            # tables stay bytes
            if tag not in bounds.PALETTES:
                dataset[tag]
        except refusals():
            del dataset[tag]
            unreadable.append(keyword_for_tag(tag))
    return unreadable


def _inflated(data: bytes, max_pixels: int | None) -> bytes:
    """A deflated file (PS3.5 section A.5) as a plain one; any other as it is.

    pydicom inflates it completely, however large it gets, before anything can be checked. Here its
    header is inflated up to a bound, and then no more than its first frame.
    """
    import pydicom
    from pydicom.filereader import read_dataset

    if _DEFLATED not in data:
        return data
    reader = bounds.Reader(data)
    reader.seek(132 if data[128:132] == b"DICM" else 0)
    # the file's own header is never compressed (PS3.10 section 7.1)
    header = read_dataset(reader, False, True, stop_when=lambda tag, _, __: tag.group != 2)
    if str(header.get("TransferSyntaxUID")) != _DEFLATED.decode():
        return data
    meta, body = data[: reader.tell()], data[reader.tell() :]
    meta = meta.replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0"))
    inflated = bounds.Inflated(body)
    whole = meta + inflated.header()
    if inflated.complete or max_pixels is None:
        return whole
    dataset = pydicom.dcmread(bounds.Reader(whole), stop_before_pixels=True, force=True)
    return whole + inflated.frame(dataset, max_pixels=max_pixels)
