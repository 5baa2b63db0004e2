"""Writes PNGs of every color type and depth, interlaced or not, with all five filters."""

import struct
import zlib

import numpy as np

from tests.support.image_files import chunk

_ONE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7 = (*_ADAM7, (0, 1, 1, 2))


def png(samples, depth, color, *before, interlaced=False):
    """Return a PNG of (height, width[, channels]) samples; rows use the filters 0 to 4 in turn."""
    height, width = samples.shape[:2]
    stream = b""
    for left, top, across, down in _ADAM7 if interlaced else _ONE:
        part = samples[top::down, left::across]
        if part.size:
            stream += _filtered(_rows(part, depth), max(1, depth * (samples[0, 0].size) // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(stream))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND")


def _rows(samples, depth):
    """Return (rows, bytes) of packed samples."""
    if depth < 8:
        bits = samples[..., np.newaxis] >> np.arange(depth - 1, -1, -1) & 1
        return np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)
    whole = np.ascontiguousarray(samples.astype(f">u{depth // 8}"))
    return whole.reshape(len(samples), -1).view(np.uint8)


def _filtered(rows, step):
    """Return the rows, each filtered and after the number of its filter (clause 9)."""
    above, parts = np.zeros(rows.shape[1], int), []
    for number, row in enumerate(rows.astype(int)):
        left = np.concatenate([np.zeros(step, int), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, int), above])[: len(row)]
        guess = left + above - corner
        distances = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
        kind = number % 5
        predicted = [0 * row, left, above, (left + above) // 2, paeth][kind]
        parts.append(bytes([kind]) + (row - predicted).astype(np.uint8).tobytes())
        above = row
    return b"".join(parts)
