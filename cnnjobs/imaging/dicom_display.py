"""From DICOM's stored values to the gray levels of a screen (PS3.4 annex N.2)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging import formats

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
        scale = 255 / ((1 << bits) - 1)
        return _by_bands(lambda band: band.astype(np.float32) @ _LUMA * scale, stored)
    limits = _limits(dataset, stored) if _has_no_window(dataset) else (0.0, 0.0)
    return _by_bands(lambda band: _levels(dataset, band, limits), stored)


def _by_bands(levels: Callable[[NDArray[Any]], _Floats], stored: NDArray[Any]) -> NDArray[np.uint8]:
    return formats.by_bands(lambda band: _rounded(levels(band)), stored)  # type: ignore[return-value]


def _levels(dataset: "Dataset", stored: NDArray[Any], limits: tuple[float, float]) -> _Floats:
    """Levels from 0 to 255 of some rows."""
    stored = _significant(dataset, stored)
    padding = _padding(dataset, stored)
    levels = _voi(dataset, _modality(dataset, stored), limits)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    return levels if padding is None else np.where(padding, np.float32(0), levels)


def _limits(dataset: "Dataset", stored: NDArray[Any]) -> tuple[float, float]:
    """The smallest and the largest value that is not padding, or of all if there is no other."""
    extremes: list[float] = []
    others: list[float] = []
    for band in formats.bands(stored):
        band = _significant(dataset, band)
        padding = _padding(dataset, band)
        seen = band if padding is None else band[~padding]
        for found, values in ((extremes, seen), (others, band)):
            if not values.size:
                continue
            if not dataset.get("ModalityLUTSequence"):
                # rescaling keeps the order
                values = np.array([values.min(), values.max()])
            rescaled = _modality(dataset, values)
            found += [float(rescaled.min()), float(rescaled.max())]
    return min(extremes or others), max(extremes or others)


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


def _significant(dataset: "Dataset", stored: NDArray[Any]) -> NDArray[Any]:
    bits, signed = int(dataset.BitsStored), dataset.PixelRepresentation == 1
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


def _has_no_window(dataset: "Dataset") -> bool:
    """Whether values are scaled from the image's smallest to its largest."""
    is_8_bit = dataset.BitsStored <= 8 and dataset.PixelRepresentation == 0
    is_shown_as_stored = is_8_bit and not _rescaled(dataset)
    return not (dataset.get("VOILUTSequence") or _window(dataset) or is_shown_as_stored)


def _window(dataset: "Dataset") -> tuple[float, float] | None:
    """Center and width, if they are usable."""
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    return (center, width) if center is not None and width is not None and width > 0 else None


def _voi(dataset: "Dataset", values: _Floats, limits: tuple[float, float]) -> _Floats:
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        from pydicom.pixels.processing import apply_voi

        looked_up = apply_voi(values.astype(np.int32), dataset)
        depth = int(sequence[0].LUTDescriptor[2])
        return _floats(looked_up) * np.float32(255 / ((1 << depth) - 1))
    if (given := _window(dataset)) is not None:
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
        return window(values, *given, function)
    if not _has_no_window(dataset):
        return values * np.float32(255 / ((1 << dataset.BitsStored) - 1))
    lowest, highest = limits
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
