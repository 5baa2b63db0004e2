"""Attributes that are numbers, checked: frames, rescale, window and padding.

A number that cannot be meant is ignored with a warning, as dcmtk does. What is no number is an
error where levels depend on it.
"""

import math
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import ImageError
from cnnjobs.imaging.dicom.notes import Notes
from cnnjobs.imaging.dicom.parsing import refusals

if TYPE_CHECKING:
    from pydicom import Dataset

#: Larger numbers than any values, and their inverse: what they give is not exact, or not finite.
_LARGEST = 1e15


def num_frames(dataset: "Dataset", notes: Notes) -> int:
    """NumberOfFrames; 1 without, or where it is no number."""
    try:
        return max(1, int(_number(dataset, "NumberOfFrames") or 1))
    except ImageError:
        notes.warn("NumberOfFrames cannot be read and is ignored")
        return 1


def rescale(dataset: "Dataset", notes: Notes) -> tuple[float, float] | None:
    """Slope and intercept (PS3.3 C.11.1), which count together only; None without."""
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None and intercept is None:
        return None
    if slope is None or intercept is None:
        if slope not in (None, 1) or intercept not in (None, 0):
            missing = "RescaleSlope" if slope is None else "RescaleIntercept"
            notes.warn(f"{missing} is missing: values are not rescaled")
        return None
    if not 1 / _LARGEST < abs(slope) < _LARGEST or abs(intercept) > _LARGEST:
        notes.warn(
            f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} are ignored: values would "
            "be lost"
        )
        return None
    return slope, intercept


def window(dataset: "Dataset", notes: Notes) -> tuple[str, float, float] | None:
    """Function, center and width of the first window (PS3.3 C.11.2.1.2); None without."""
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is None or width is None:
        if center is not width:
            missing = "WindowCenter" if center is None else "WindowWidth"
            notes.warn(f"{missing} is missing: the window is ignored")
        return None
    stated = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    function = stated if stated in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else "LINEAR"
    if function != stated:
        notes.warn("an unknown VOILUTFunction is taken for LINEAR")
    smallest = 1 if function == "LINEAR" else 1 / _LARGEST
    if not smallest <= width < _LARGEST or abs(center) > _LARGEST:
        notes.warn(f"the window of center {center:g} and width {width:g} is ignored")
        return None
    return function, center, width


def padding(dataset: "Dataset", notes: Notes) -> tuple[float, float] | None:
    """The smallest and the largest stored value that is padding; None if the file defines none."""
    try:
        value = _sample(dataset, "PixelPaddingValue")
        limit = _sample(dataset, "PixelPaddingRangeLimit")
    except ImageError:
        notes.warn("PixelPaddingValue cannot be read and is ignored")
        return None
    if value is None:
        return None
    limit = value if limit is None else limit
    return min(value, limit), max(value, limit)


def _sample(dataset: "Dataset", name: str) -> float | None:
    """An attribute that is a stored value; it has the sign of the samples, whatever its VR."""
    value = dataset.get(name)
    signed = dataset.PixelRepresentation == 1
    if isinstance(value, bytes):
        little = dataset.original_encoding[1]
        return int.from_bytes(value, "little" if little else "big", signed=signed)
    number = _number(dataset, name)
    if number is None:
        return None
    size = float(1 << dataset.BitsAllocated)
    if signed and number >= size / 2:
        return number - size
    return number + size if not signed and number < 0 else number


def _number(dataset: "Dataset", name: str) -> float | None:
    """The first value of an attribute; None if it is absent, or not finite.

    Raises:
        ImageError: it is no number.
    """
    value: Any = dataset.get(name)
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except refusals():
        raise ImageError("damaged", f"a DICOM file: {name} is not a number") from None
    return number if math.isfinite(number) else None
