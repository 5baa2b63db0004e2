"""Hashes by which copies of an image are recognized, though their files differ."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging.formats import Gray
from cnnjobs.imaging.preprocessing import resize

#: Bytes of one hash: 256 bits.
HASH_BYTES = 32

#: Lowest frequencies of the cosine transform that make a hash, in each direction.
_HASH_SIDE = 16

#: Side of the thumbnail that is transformed. Images with a shorter side (digits, icons) are too
#: similar by nature for a hash.
_THUMBNAIL_SIDE = 64

#: Shares cut off at each side before hashing again. A crop by one of them has distance 0, and one
#: halfway between two of them about 24 (of at most 30 that count as a copy).
CROPS = (0.025, 0.05, 0.075)

#: Side of the thumbnail that is cropped: a crop removes whole pixels of it.
_CROPPED_SIDE = 160


def perceptual_hashes(gray: Gray) -> bytes | None:
    """The hash of the whole image, then those of its crops, 32 bytes each.

    None for an image with a side below 64 pixels or without any contrast. A crop without contrast
    has the hash of the whole image.
    """
    if min(gray.shape) < _THUMBNAIL_SIDE:
        return None
    whole = _hash(gray)
    if whole is None:
        return None
    small = resize(gray, height=_CROPPED_SIDE, width=_CROPPED_SIDE)
    parts = [whole]
    for share in CROPS:
        cut = round(share * _CROPPED_SIDE)
        inside = slice(cut, _CROPPED_SIDE - cut)
        parts.append(_hash(small[inside, inside]) or whole)
    return b"".join(parts)


def _hash(gray: NDArray[Any]) -> bytes | None:
    """256 bits that survive resizing, re-encoding and a change of contrast; 32 bytes.

    The signs of the 16 x 16 lowest frequencies of the discrete cosine transform of a
    64 x 64 thumbnail against their median (pHash; Zauner 2010, "Implementation and
    Benchmarking of Perceptual Image Hash Functions"). An inverted image has the complement, but
    for the bit of the mean. None without any contrast.
    """
    thumbnail: NDArray[np.float32] = resize(
        gray, height=_THUMBNAIL_SIDE, width=_THUMBNAIL_SIDE
    ).astype(np.float32)
    if thumbnail.max() - thumbnail.min() < 1:
        return None
    low = cv2.dct(thumbnail)[:_HASH_SIDE, :_HASH_SIDE].ravel()
    # the first coefficient is the mean brightness, thousands of times the others: it would shift
    # the median
    return np.packbits(low > np.median(low[1:])).tobytes()
