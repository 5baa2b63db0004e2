"""How many bits of 16-bit samples are used: detectors of 10 to 14 bits store them unscaled."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging.formats import Gray, Picture, by_bands

#: Depths of detectors.
_DEPTHS = (8, 10, 12, 14)

#: Samples are counted in bins of so many values, of which each depth's largest ends one.
_BIN = 1 << 8

#: Share of the pixels that may be above the depth, whatever they are: hot pixels.
_HOT = 1 / 1000

#: Share of the pixels that may be above it if most of them are of one value: a burned-in marker.
_MARKER, _MOST = 1 / 20, 3 / 4


def settled(picture: Picture) -> Picture:
    """The picture with its depth in `bits`, and no sample above it.

    The depth is the one that the file states, or else the smallest of 8, 10, 12, 14 and 16 bits
    that holds all but a few samples: at most 1 in 1,000, or at most 1 in 20 if three quarters of
    these lie in one bin of 256 values. The few become white, which costs less than the others
    becoming nearly black. A stated depth that more samples exceed does not count.

    `warning` says so if the depth is not that of the file, or if samples were above it.
    """
    gray = picture.gray
    if gray.dtype == np.uint8:
        return picture._replace(bits=8)
    counts = _counts(gray)
    stated = picture.bits
    if stated is not None and _num_above(counts, stated) == 0:
        return picture
    # a text of the stated depth, or of the guess
    if stated is not None and _holds(counts, stated):
        bits, text = stated, f"the {stated} bits that the file states"
    else:
        bits = next((bits for bits in _DEPTHS if _holds(counts, bits)), 16)
        text = f"{bits} bits, though they are stored in 16"
    if bits == 16:
        return picture._replace(bits=bits)
    num_above = _num_above(counts, bits)
    warning = f"its samples are taken for {text}"
    if num_above:
        warning += f"; {num_above} of {gray.size} are above {(1 << bits) - 1} and become white"
        gray = np.minimum(gray, np.uint16((1 << bits) - 1))
    warnings = filter(None, (picture.warning, warning))
    return picture._replace(gray=gray, bits=bits, warning="; ".join(warnings))


def _counts(gray: Gray) -> NDArray[np.int64]:
    """How many samples are in each bin."""
    counts = np.zeros(_BIN, np.int64)
    for band in _bands(gray):
        counts += cv2.calcHist([band], [0], None, [_BIN], [0, 1 << 16]).ravel().astype(np.int64)
    return counts


def _bands(gray: Gray) -> Iterator[Gray]:
    # float32 counts no more
    step = max(1, (1 << 24) // gray.shape[1])
    return (gray[top : top + step] for top in range(0, len(gray), step))


def _num_above(counts: NDArray[np.int64], bits: int) -> int:
    """How many samples are above a depth's largest value."""
    return int(counts[(1 << bits) // _BIN :].sum())


def _holds(counts: NDArray[np.int64], bits: int) -> bool:
    """Whether all but a few samples are within a depth."""
    above, total = counts[(1 << bits) // _BIN :], counts.sum()
    num_above = above.sum()
    is_marker = num_above <= _MARKER * total and above.max(initial=0) >= _MOST * num_above
    return bool(num_above <= _HOT * total or is_marker)


def to_8_bit(image: Gray, bits: int) -> NDArray[np.uint8]:
    """Scale samples of `bits` significant bits to 0..255, rounded to the nearest."""
    if image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    return by_bands(lambda band: _to_8_bit(band, bits), image)  # type: ignore[return-value]


def _to_8_bit(image: Gray, bits: int) -> NDArray[np.uint8]:
    scaled = image.astype(np.float32) * (255 / ((1 << bits) - 1))
    rounded: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded
