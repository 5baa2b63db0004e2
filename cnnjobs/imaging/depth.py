"""How many bits of 16-bit samples are used: detectors of 10 to 14 bits store them unscaled."""

import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging.formats import Gray, Picture, bands, by_bands

#: Depths below 16 bits, of detectors and screens.
_DEPTHS = (14, 12, 10, 8)

#: Values that are counted as one.
_BIN = 1 << 8

#: Share of the pixels that may be above the depth, whatever they are: hot pixels.
_HOT = 1 / 1000

#: Share of the pixels that may be above it if most of them are of one value: a burned-in marker.
_MARKER, _MOST = 1 / 20, 3 / 4


def settled(picture: Picture) -> Picture:
    """The picture with its depth in `bits`, and no sample above it.

    The depth is the one that the file states, or else the smallest of 8, 10, 12, 14 and 16 bits
    that holds all but a few samples: at most 1 in 1,000, or at most 1 in 20 if three quarters of
    these lie within 256 values. The few become white, which costs less than the others
    becoming nearly black. A stated depth that more samples exceed does not count.

    `warning` says so if the depth is not that of the file, or if samples were above it.
    """
    gray = picture.gray
    if gray.dtype == np.uint8:
        return picture._replace(bits=8)
    stated = picture.bits
    if stated is not None and _num_above(gray, stated) == 0:
        return picture
    # a text of the stated depth, or of the guess
    if stated is not None and _holds(gray, stated):
        bits, text = stated, f"the {stated} bits that the file states"
    else:
        bits = _guess(gray)
        text = f"{bits} bits, though they are stored in 16"
    if bits == 16:
        return picture._replace(bits=bits)
    num_above = _num_above(gray, bits)
    warning = f"its samples are taken for {text}"
    if num_above:
        warning += f"; {num_above} of {gray.size} are above {(1 << bits) - 1} and become white"
        gray = np.minimum(gray, np.uint16((1 << bits) - 1))
    warnings = filter(None, (picture.warning, warning))
    return picture._replace(gray=gray, bits=bits, warning="; ".join(warnings))


def _guess(gray: Gray) -> int:
    """The smallest depth such that it and the larger ones hold the samples."""
    found = 16
    for bits in _DEPTHS:
        if not _holds(gray, bits):
            break
        found = bits
    return found


def _holds(gray: Gray, bits: int) -> bool:
    """Whether all but a few samples are within a depth."""
    num_above = _num_above(gray, bits)
    if num_above <= _HOT * gray.size:
        return True
    if num_above > _MARKER * gray.size:
        return False
    bins = np.bincount(gray[gray >= 1 << bits] // _BIN)
    return bool(bins.max() >= _MOST * num_above)


def _num_above(gray: Gray, bits: int) -> int:
    """How many samples are above a depth's largest value."""
    return sum(int(np.count_nonzero(band >= 1 << bits)) for band in bands(gray))


def to_8_bit(image: Gray, bits: int) -> NDArray[np.uint8]:
    """Scale samples of `bits` significant bits to 0..255, rounded to the nearest."""
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    return by_bands(lambda band: _to_8_bit(band, bits), image)  # type: ignore[return-value]


def _to_8_bit(image: Gray, bits: int) -> NDArray[np.uint8]:
    scaled = image.astype(np.float32) * (255 / ((1 << bits) - 1))
    rounded: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded
