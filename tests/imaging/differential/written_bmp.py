"""Writes BMPs: palettes, color masks and run lengths, of old and new headers."""

import struct

import numpy as np

#: Gray levels in order, from white to black, colors, and half as many as there could be.
PALETTES = ("gray", "inverted", "colors", "few")

_BLUE_FIRST = (0xFF0000, 0xFF00, 0xFF)

#: Masks of red, green and blue (and alpha), and the bits of a pixel.
MASKS = {
    (0xF800, 0x7E0, 0x1F): 16,
    (0x7C00, 0x3E0, 0x1F): 16,
    _BLUE_FIRST: 32,
    (0xFF000000, 0xFF0000, 0xFF00): 32,
    (*_BLUE_FIRST, 0xFF000000): 32,
    (0xFF, 0xFF00, 0xFF0000, 0xFF000000): 32,
}
ODD_MASKS = {
    (0xF000, 0xF00, 0xF0): 16,
    (0x1F, 0x7E0, 0xF800): 16,
    (0x3FF00000, 0xFFC00, 0x3FF): 32,
    (0xFF, 0xFF00, 0xFF0000): 32,
}


def indexed(samples, bits, palette, *, down=False, header=40):
    """Return a BMP of (height, width) indices."""
    rows = samples[..., np.newaxis] >> np.arange(bits - 1, -1, -1) & 1
    packed = np.packbits(rows.reshape(len(samples), -1).astype(np.uint8), axis=1)
    colors = _palette(palette, bits)
    if palette == "few" and header > 12:
        # as many as are used
        colors = colors[: int(samples.max()) + 1]
    return _file(packed, samples.shape, bits, colors, down=down, header=header)


def direct(color, bits, *, masks=(), down=False, header=40):
    """Return a BMP of (height, width, 3) levels, red first; opacity falls from left to right."""
    if bits == 24:
        rows = np.ascontiguousarray(color[..., ::-1]).reshape(len(color), -1)
        return _file(rows, color.shape[:2], bits, (), down=down, header=header)
    used = masks or ((0x7C00, 0x3E0, 0x1F) if bits == 16 else _BLUE_FIRST)
    pixels = np.zeros(color.shape[:2], np.uint64)
    opacity = np.linspace(255, 0, color.shape[1]).astype(np.uint8)
    levels = np.dstack([color, np.broadcast_to(opacity, color.shape[:2])])
    for channel, mask in enumerate(used):
        lowest = mask & -mask
        scaled = np.rint(levels[..., channel] * (mask // lowest / 255)).astype(np.uint64)
        pixels |= scaled * np.uint64(lowest)
    rows = np.ascontiguousarray(pixels.astype(f"<u{bits // 8}")).view(np.uint8)
    header = 108 if len(masks) == 4 else header
    rows = rows.reshape(len(color), -1)
    return _file(rows, color.shape[:2], bits, (), masks, down=down, header=header)


def run_lengths(samples, bits, how, palette="colors"):
    """Return a BMP whose rows are runs, literal pixels, or runs after steps to the right."""
    encoded = b""
    for row in samples[::-1].tolist():
        encoded += {"runs": _runs, "absolute": _literals, "delta": _steps}[how](row, bits) + b"\0\0"
    encoded += b"\0\1"
    return _file(encoded, samples.shape, bits, _palette(palette, bits), compression=3 - bits // 4)


def _runs(row, bits):
    ends = np.flatnonzero(np.diff(row, append=-1)) + 1
    parts = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        for first in range(start, end, 255):
            value = row[start] * (17 if bits == 4 else 1)
            parts.append(bytes([min(255, end - first), value]))
    return b"".join(parts)


def _literals(row, bits):
    parts = []
    for start in range(0, len(row), 20):
        pixels = row[start : start + 20]
        if len(pixels) < 3:
            parts.append(_runs(pixels, bits))
            continue
        if bits == 4:
            pairs = [*pixels, 0][: len(pixels) + len(pixels) % 2]
            body = bytes(16 * high + low for high, low in zip(pairs[::2], pairs[1::2], strict=True))
        else:
            body = bytes(pixels)
        parts.append(bytes([0, len(pixels)]) + body + bytes(len(body) % 2))
    return b"".join(parts)


def _steps(row, bits):
    """Leave out the pixels of index 0 at the start of a row."""
    zeros = next((place for place, value in enumerate(row) if value), 0)
    step = bytes([0, 2, zeros, 0]) if zeros else b""
    return step + _runs(row[zeros:], bits)


def _palette(kind, bits):
    """Return (colors, 3) levels, red first."""
    number = 1 << bits
    levels = np.arange(number) * 255 // (number - 1)
    if kind in ("two", "two reversed", "one"):
        levels = np.array({"two": [0, 255], "two reversed": [255, 0], "one": [99]}[kind])
    if kind == "dark":
        levels = np.arange(number)
    if kind == "inverted":
        levels = levels[::-1]
    if kind == "colors":
        return np.random.default_rng(bits).integers(0, 256, (number, 3))
    return np.stack([levels] * 3, axis=1)


def _file(rows, shape, bits, colors, masks=(), *, down=False, header=40, compression=0):
    """Return a file; `rows` are its packed bytes from top to bottom, or a compressed stream."""
    height, width = shape
    if isinstance(rows, bytes):
        body = rows
    else:
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
        body = (padded if down else padded[::-1]).tobytes()
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
        table = b"".join(bytes(color[::-1]) for color in np.asarray(colors, np.uint8).tolist())
    else:
        fields = (header, width, -height if down else height, 1, bits)
        compression = 3 if masks else compression
        info = struct.pack("<IiiHH", *fields)
        info += struct.pack("<IIiiII", compression, len(body), 0, 0, len(colors), 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0")
        reversed_colors = (bytes(color[::-1]) for color in np.asarray(colors, np.uint8).tolist())
        table = b"".join(color + b"\0" for color in reversed_colors)
    start = 14 + len(info) + len(table)
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + info + table + body
