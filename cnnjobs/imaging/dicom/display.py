"""From DICOM's stored values to the gray levels of a screen (PS3.4 annex N.2)."""

from collections.abc import Callable, MutableSequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError
from cnnjobs.imaging import formats
from cnnjobs.imaging.dicom import numbers, tables
from cnnjobs.imaging.dicom.frames import Samples
from cnnjobs.imaging.dicom.notes import Notes

if TYPE_CHECKING:
    from pydicom import Dataset

_Floats = NDArray[np.floating[Any]]

#: ITU-R BT.601, as for all other files.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

#: Values of more bits, or far from zero, are not exact in 32 bits.
_EXACT = 1 << 20


class _Ramp(NamedTuple):
    """Levels that rise from 0 at `lowest` to 255 at `lowest + span`."""

    lowest: float
    span: float

    def levels(self, values: _Floats) -> _Floats:
        """Of values, which are overwritten; beyond both ends, levels outside of 0..255."""
        values -= self.lowest
        values *= 255 / self.span if self.span else 0
        return values


class _Sigmoid(NamedTuple):
    """Levels that rise like an S (PS3.3 C.11.2.1.3.1)."""

    center: float
    width: float

    def levels(self, values: _Floats) -> _Floats:
        exponent = np.clip(-4 * (values - self.center) / self.width, -80, 80)
        return np.asarray(255 / (1 + np.exp(exponent)))


def shown(dataset: "Dataset", samples: Samples, notes: Notes) -> NDArray[np.uint8]:
    """8-bit gray of one frame, (rows, columns) or (rows, columns, 3) of RGB.

    1. Bits above and below those stored, which once held overlays, are cut off.
    2. Modality LUT or rescale (PS3.3 C.11.1).
    3. The first VOI LUT, otherwise the first window (C.11.2), mapped to 0..255. Without either,
       values of more than 8 bits are scaled from smallest to largest, padding excluded; 8-bit
       values are kept.
    4. Inversion, as PresentationLUTShape says, otherwise for MONOCHROME1 (C.7.6.3.1.2).
    5. Padding (C.7.5.1.1.2) becomes black.

    Color becomes luma and skips steps 2 to 5.
    """
    stored = _Stored(int(dataset.BitsStored), samples.shift, dataset.PixelRepresentation == 1)
    if samples.values.ndim == 3:
        notes.step(formats.LUMA)
        scale = 255 / ((1 << stored.bits) - 1)
        return _by_bands(
            lambda band: stored.of(band).astype(np.float32) @ _LUMA * scale, samples.values
        )
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _of_palette(dataset, stored, samples.values, notes)
    chain = _Chain(dataset, stored, samples.values, notes)
    return _by_bands(chain.levels, samples.values)


class _Stored(NamedTuple):
    """Which bits of the samples are values."""

    bits: int
    shift: int
    signed: bool

    def of(self, samples: NDArray[Any]) -> NDArray[Any]:
        unused = samples.dtype.itemsize * 8 - self.bits
        if unused <= 0:
            return samples
        if not self.signed:
            samples = samples >> self.shift if self.shift else samples
            return samples & ((1 << self.bits) - 1)
        # shift out what is above, then back in with the sign
        return samples << (unused - self.shift) >> unused

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that there can be."""
        half = 1 << (self.bits - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


class _Chain:
    """The steps from samples to levels, resolved once for all bands of a frame."""

    def __init__(
        self, dataset: "Dataset", stored: _Stored, samples: NDArray[Any], notes: Notes
    ) -> None:
        self._stored = stored
        self._modality, limits = _modality(dataset, stored.limits, notes)
        self._padding = numbers.padding(dataset, notes)
        far = max(abs(limits[0]), abs(limits[1])) > _EXACT
        self._type: Any = np.float64 if stored.bits > 16 or far else np.float32
        self._voi: tables.Table | _Ramp | _Sigmoid | None = _voi(dataset, limits, notes)
        as_stored = stored.bits <= 8 and not stored.signed and self._modality in (None, (1, 0))
        if self._voi is None and as_stored:
            self._voi = _Ramp(0, stored.limits[1])
            notes.step("shown as stored")
        if self._voi is None:
            lowest, highest = self._extremes(samples)
            self._voi = _Ramp(lowest, highest - lowest)
            notes.step(f"scaled from the smallest value {lowest:g} to the largest {highest:g}")
        self._inverted = _inverted(dataset, notes)
        if self._padding is not None:
            notes.step("padding shown black")

    def levels(self, samples: NDArray[Any]) -> _Floats:
        """Levels from 0 to 255 of some rows."""
        stored = self._stored.of(samples)
        values = self._rescaled(stored)
        if isinstance(self._voi, tables.Table):
            scale = np.float32(255 / ((1 << self._voi.bits) - 1))
            levels: _Floats = self._voi.look_up(values) * scale
        else:
            assert self._voi is not None
            # rescaled ones are a copy already
            levels = self._voi.levels(np.array(values, self._type, copy=values is stored or None))
        if self._inverted:
            levels = 255 - levels
        if self._padding is None:
            return levels
        return np.where(self._is_padding(stored), np.float32(0), levels)

    def _rescaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        if isinstance(self._modality, tables.Table):
            return self._modality.look_up(stored)
        if self._modality is None:
            return stored
        slope, intercept = self._modality
        values = np.array(stored, self._type)
        values *= slope
        values += intercept
        return values

    def _is_padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        assert self._padding is not None
        lowest, highest = self._padding
        return (stored >= lowest) & (stored <= highest)

    def _extremes(self, samples: NDArray[Any]) -> tuple[float, float]:
        """The smallest and the largest value; not of padding, if there is anything else."""
        extremes: list[float] = []
        others: list[float] = []
        for band in formats.bands(samples):
            stored = self._stored.of(band)
            seen = stored if self._padding is None else stored[~self._is_padding(stored)]
            for found, values in ((extremes, seen), (others, stored)):
                if not values.size:
                    continue
                if not isinstance(self._modality, tables.Table):
                    # rescaling keeps the order
                    values = np.array([values.min(), values.max()])
                rescaled = self._rescaled(values)
                found += [float(rescaled.min()), float(rescaled.max())]
        return min(extremes or others), max(extremes or others)


def _modality(
    dataset: "Dataset", limits: tuple[float, float], notes: Notes
) -> tuple[tables.Table | tuple[float, float] | None, tuple[float, float]]:
    """The table or slope and intercept (PS3.3 C.11.1), and the limits of the values after it."""
    table = _first_table(dataset, "ModalityLUTSequence", "modality LUT", limits, notes)
    if table is not None:
        return table, (0, (1 << table.bits) - 1)
    line = numbers.rescale(dataset, notes)
    if line is None:
        return None, limits
    notes.step(f"rescaled: slope {line[0]:g}, intercept {line[1]:g}")
    ends = sorted(line[0] * limit + line[1] for limit in limits)
    return line, (ends[0], ends[1])


def _voi(
    dataset: "Dataset", limits: tuple[float, float], notes: Notes
) -> tables.Table | _Ramp | _Sigmoid | None:
    table = _first_table(dataset, "VOILUTSequence", "VOI LUT", limits, notes)
    if table is not None:
        return table
    window = numbers.window(dataset, notes)
    if window is None:
        return None
    function, center, width = window
    notes.step(f"window: {function}, center {center:g}, width {width:g}")
    if function == "SIGMOID":
        return _Sigmoid(center, width)
    # LINEAR of width 1 is a threshold (PS3.3 C.11.2.1.2.1, C.11.2.1.3.2)
    span = width if function == "LINEAR_EXACT" else max(width - 1, 1e-6)
    return _Ramp(center - width / 2, span)


def _first_table(
    dataset: "Dataset", sequence: str, kind: str, limits: tuple[float, float], notes: Notes
) -> tables.Table | None:
    """The first table of a sequence that can be used."""
    items = dataset.get(sequence) or []
    if not isinstance(items, MutableSequence):
        notes.warn(f"{sequence} is damaged and ignored")
        return None
    for number, item in enumerate(items, start=1):
        try:
            table = tables.read(item, limits)
        except ValueError:
            notes.warn(f"{kind} {number} is damaged and ignored")
            continue
        if table is None or table.is_flat:
            notes.warn(f"{kind} {number} {'is flat' if table else 'has no entries'} and is ignored")
            continue
        if table.fault:
            notes.warn(f"{kind} {number} {table.fault}")
        notes.step(f"{kind} {number} of {len(items)} ({table})")
        return table
    return None


def _inverted(dataset: "Dataset", notes: Notes) -> bool:
    """Whether levels are inverted, as dcmtk decides where two attributes disagree."""
    photometric = bool(dataset.PhotometricInterpretation == "MONOCHROME1")
    shape = str(dataset.get("PresentationLUTShape") or "").strip()
    inverted: bool = {"INVERSE": True, "IDENTITY": False}.get(shape, photometric)
    if inverted != photometric:
        notes.warn(f"PresentationLUTShape {shape} counts, not {dataset.PhotometricInterpretation}")
    if inverted:
        notes.step(f"inverted: {'MONOCHROME1' if photometric else 'PresentationLUTShape'}")
    return inverted


def _of_palette(
    dataset: "Dataset", stored: _Stored, samples: NDArray[Any], notes: Notes
) -> NDArray[np.uint8]:
    try:
        colors = tables.palette(dataset, stored.limits)
    except ValueError:
        raise ImageError("damaged", "a DICOM file: its palette cannot be used") from None
    notes.step(f"palette ({colors[0]})")
    notes.step(formats.LUMA)
    for color in colors:
        if color.fault:
            notes.warn(f"a palette {color.fault}")

    def levels(band: NDArray[Any]) -> _Floats:
        values = stored.of(band)
        parts = (
            color.look_up(values) * np.float32(share * 255 / ((1 << color.bits) - 1))
            for color, share in zip(colors, _LUMA, strict=True)
        )
        return np.asarray(sum(parts), np.float32)

    return _by_bands(levels, samples)


def _by_bands(levels: Callable[[NDArray[Any]], _Floats], stored: NDArray[Any]) -> NDArray[np.uint8]:
    return formats.by_bands(lambda band: _rounded(levels(band)), stored)  # type: ignore[return-value]


def _rounded(levels: _Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
