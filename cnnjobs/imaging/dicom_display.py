"""From DICOM's stored values to the gray levels of a screen (PS3.4 annex N.2)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

_Floats = NDArray[np.float32]

#: ITU-R BT.601, as for all other files.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def shown(dataset: "Dataset", stored: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit gray of one frame, (rows, columns) or (rows, columns, 3) of RGB.

    1. Bits beyond BitsStored, which once held overlays, are cleared.
    2. Modality LUT or rescale (PS3.3 C.11.1).
    3. The first VOI LUT, otherwise the first window (C.11.2), mapped to 0..255. Without either,
       values of more than 8 bits are scaled from smallest to largest, padding excluded; 8-bit
       values are kept.
    4. MONOCHROME1 is inverted (C.7.6.3.1.2).
    5. Padding (C.7.5.1.1.2) becomes black.

    Color becomes luma and skips steps 2 to 5.
    """
    bits = int(dataset.BitsStored)
    if stored.ndim == 3:
        return _rounded(stored.astype(np.float32) @ _LUMA * (255 / ((1 << bits) - 1)))
    stored = _significant(stored, bits, signed=dataset.PixelRepresentation == 1)
    padding = _padding(dataset, stored)
    values = _modality(dataset, stored)
    levels = _voi(dataset, values, padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    if padding is not None:
        levels = np.where(padding, np.float32(0), levels)
    return _rounded(levels)


def window(values: _Floats, center: float, width: float, function: str) -> _Floats:
    """Map values to 0..255 through a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - center) / width, -80, 80)
        return _floats(255 / (1 + np.exp(exponent)))
    if function == "LINEAR_EXACT":
        lowest, span = center - width / 2, width
    else:
        # a window of width 1 is a threshold
        lowest, span = center - 0.5 - (width - 1) / 2, max(width - 1, 1e-6)
    return _floats(np.clip((values - lowest) * (255 / span), 0, 255))


def _significant(stored: NDArray[Any], bits: int, *, signed: bool) -> NDArray[Any]:
    unused = stored.dtype.itemsize * 8 - bits
    if unused <= 0:
        return stored
    if not signed:
        return stored & ((1 << bits) - 1)
    # shift out, then back in with the sign
    return (stored << unused) >> unused


def _padding(dataset: "Dataset", stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which samples are padding; None if the file defines no padding value."""
    value = _sample(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _sample(dataset, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def _sample(dataset: "Dataset", name: str) -> float | None:
    """An attribute that is a stored value; it has the sign of the samples, whatever its VR."""
    value = dataset.get(name)
    signed = dataset.PixelRepresentation == 1
    if isinstance(value, bytes):
        little = dataset.original_encoding[1]
        return int.from_bytes(value, "little" if little else "big", signed=signed)
    number = _number(dataset, name)
    if number is not None and signed and number >= 1 << (dataset.BitsAllocated - 1):
        number -= 1 << dataset.BitsAllocated
    return number


def _modality(dataset: "Dataset", stored: NDArray[Any]) -> _Floats:
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return _floats(apply_modality_lut(stored, dataset))
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    values = stored.astype(np.float32)
    if slope is not None and slope != 1:
        values *= slope
    if intercept:
        values += intercept
    return values


def _rescaled(dataset: "Dataset") -> bool:
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    return bool(dataset.get("ModalityLUTSequence")) or slope not in (None, 1) or bool(intercept)


def _voi(dataset: "Dataset", values: _Floats, padding: NDArray[np.bool_] | None) -> _Floats:
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        from pydicom.pixels.processing import apply_voi

        looked_up = apply_voi(values.astype(np.int32), dataset)
        depth = int(sequence[0].LUTDescriptor[2])
        return _floats(looked_up) * np.float32(255 / ((1 << depth) - 1))
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is not None and width is not None and width > 0:
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
        return window(values, center, width, function)
    if dataset.BitsStored <= 8 and dataset.PixelRepresentation == 0 and not _rescaled(dataset):
        return values * np.float32(255 / ((1 << dataset.BitsStored) - 1))
    seen = values[~padding] if padding is not None and not padding.all() else values
    lowest, highest = float(seen.min()), float(seen.max())
    return _floats((values - lowest) * (255 / max(highest - lowest, 1e-6)))


def _number(dataset: "Dataset", name: str) -> float | None:
    """The first value of an attribute; None if it is absent."""
    value = dataset.get(name)
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _floats(values: Any) -> _Floats:
    return np.asarray(values, np.float32)


def _rounded(levels: _Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
