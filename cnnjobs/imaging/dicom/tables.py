"""Look-up tables: modality LUT (PS3.3 C.11.1), VOI LUT (C.11.2) and palettes (C.7.6.3.1.5).

pydicom 3.0 applies them only as the standard has them: its apply_voi takes the index modulo 256
where entries have 8 bits, its apply_modality_lut refuses 9 to 15 bits (issue 2317), both refuse
entries stored as bytes or without a value (issue 2238) and tables shorter than stated. So tables
are read here, from the bytes of the file.
"""

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

_WORD = 1 << 16

#: A share of entries above the stated bits that is damage: where the bits are wrong, it is half or
#: more.
_FEW = 1 / 20


class Table(NamedTuple):
    """A look-up table: `entries` of `bits` each, for the values from `first` on."""

    first: int
    entries: NDArray[np.uint16]
    bits: int
    #: what was wrong with it, if anything
    fault: str | None = None

    @property
    def is_flat(self) -> bool:
        """Whether nothing can be seen through it."""
        return len(self.entries) > 1 and bool((self.entries == self.entries[0]).all())

    def look_up(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The entries of values, whose fractions are cut off; outside, the first or the last."""
        if values.dtype.kind == "f" or values.dtype.itemsize > 2:
            values = values.astype(np.int64)
        index = values.astype(np.int64 if values.dtype.itemsize > 2 else np.int32) - self.first
        found: NDArray[np.uint16] = self.entries[
            np.clip(index, 0, len(self.entries) - 1, out=index)
        ]
        return found

    def __str__(self) -> str:
        return f"{len(self.entries)} entries of {self.bits} bits"


def read(
    item: "Dataset",
    limits: tuple[float, float],
    descriptor: str = "LUTDescriptor",
    data: str = "LUTData",
) -> Table | None:
    """The table of an item; None if it has no entries.

    Its descriptor states the number of entries (0 is 65536), the first value that they are for,
    and their bits. All three are words; the sign of the second depends on the values, whose
    smallest and largest possible are `limits` (C.11.1.1.1, C.11.2.1.1).

    Raises:
        ValueError: the descriptor is damaged.
    """
    stated, first, bits = _descriptor(item, descriptor)
    entries = _entries(*_stored(item, data), stated, bits)
    if not entries.size:
        return None
    if first >= _WORD // 2 and (limits[0] < 0 or first > limits[1]):
        first -= _WORD
    faults = []
    if entries.size != stated:
        faults.append(f"has {entries.size} of {stated} entries")
    if 8 <= bits <= 16 and 0 < (above := int((entries >> bits > 0).sum())) <= _FEW * entries.size:
        faults.append(f"has {above} entries above {bits} bits")
        entries = np.minimum(entries, np.uint16((1 << bits) - 1))
    needed = max(8, int(entries.max()).bit_length())
    if not needed <= bits <= 16:
        faults.append(f"states {bits} bits, which are taken for {needed}")
        bits = needed
    return Table(first, entries, bits, " and ".join(faults) or None)


def palette(dataset: "Dataset", limits: tuple[float, float]) -> list[Table]:
    """The tables of red, green and blue.

    Raises:
        ValueError: one is missing or damaged.
    """
    colors = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
    if all(f"Segmented{color}Data" in dataset for color in colors):
        return _segmented(dataset, [f"{color}Descriptor" for color in colors])
    tables = [read(dataset, limits, f"{color}Descriptor", f"{color}Data") for color in colors]
    if None in tables:
        raise ValueError("a palette without entries")
    return [table for table in tables if table is not None]


def _segmented(dataset: "Dataset", descriptors: list[str]) -> list[Table]:
    """Tables of runs and ramps (PS3.3 C.7.9.2), which pydicom expands."""
    from pydicom.pixels.processing import apply_color_lut

    stated, first, bits = _descriptor(dataset, descriptors[0])
    if bits not in (8, 16) or stated > 1 << bits:
        # pydicom takes the index modulo 256
        raise ValueError("a segmented palette of an odd size")
    for name in descriptors:
        setattr(dataset, name, [stated % _WORD, 0, bits])
    colors = apply_color_lut(np.arange(stated, dtype=np.int32), dataset)
    return [Table(first, colors[:, index].astype(np.uint16), bits) for index in range(3)]


def _descriptor(item: "Dataset", name: str) -> tuple[int, int, int]:
    """Number of entries, first value (without its sign) and bits."""
    words, _, little = _stored(item, name)
    if len(words) != 6:
        raise ValueError("not three values")
    stated, first, bits = struct.unpack("<3H" if little else ">3H", words)
    return stated or _WORD, first, bits


def _entries(raw: bytes, kind: str, little: bool, stated: int, bits: int) -> NDArray[np.uint16]:
    """Entries that are stored as words, as bytes, or as bytes packed into words."""
    missing = kind == "OB" and len(raw) < stated
    if bits <= 8 and (len(raw) in (stated, stated + stated % 2) or missing):
        entries = np.frombuffer(raw, np.uint8)
        if not little and kind != "OB" and len(raw) % 2 == 0:
            # the two bytes of a word are in its order
            entries = entries.reshape(-1, 2)[:, ::-1].ravel()
        return entries[:stated].astype(np.uint16)
    words = np.frombuffer(raw, "<u2" if little else ">u2", len(raw) // 2)
    return words[:_WORD].astype(np.uint16)


def _stored(item: "Dataset", name: str) -> tuple[bytes, str, bool]:
    """The bytes of a value, its value representation, and whether they are little-endian.

    Not the converted value: 65536 entries would become as many objects, and their signs depend on
    a value representation that is ambiguous.
    """
    if name not in item:
        return b"", "OW", True
    element = item.get_item(name)
    value = element.value or b""
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value, str(element.VR), bool(getattr(element, "is_little_endian", True))
