"""Changes images: headers, tags and pixels, with lengths and checksums mostly put right."""

import functools
import io
import struct
import zlib
from collections import defaultdict

import numpy as np

from cnnjobs.errors import ImageError
from cnnjobs.imaging import formats
from tests.imaging.differential import dicom_variants, raster_variants
from tests.support import corpus
from tests.support.image_files import chunk

FORMATS = ("png", "jpeg", "tiff", "bmp", "webp", "dicom")

#: The largest file that is changed.
_LARGEST = 60_000

#: Numbers at which lengths, counts and offsets go wrong.
_ODD = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 127, 128, 255, 256, 1023, 4096, 32767, 32768, 65535)
_ODD += (65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


@functools.cache
def bases():
    """Return sound and odd files by format."""
    found = defaultdict(list)
    files = [odd.data for odd in corpus.files().values()]
    files += [variant.data for variant in raster_variants.variants()]
    files += [variant.data for variant in dicom_variants.variants()]
    for data in files:
        if len(data) <= _LARGEST:
            try:
                found[formats.recognize(data)].append(data)
            except ImageError:
                continue
    return dict(found)


def mutated(format_, seed, index):
    """Return the image of a number: the same for the same format, seed and number."""
    rng = np.random.default_rng([FORMATS.index(format_), seed, index])
    files = bases()[format_]
    data = files[rng.integers(len(files))]
    for _ in range(rng.integers(1, 4)):
        known = {"png": _png, "tiff": _tiff, "jpeg": _jpeg, "bmp": _bmp, "webp": _webp}
        change = known.get(format_, _anywhere) if rng.random() < 0.7 else _anywhere
        data = change(rng, data, files[rng.integers(len(files))])
    return data


def _number(rng, size, order):
    """Return a number that is odd, small or anything, as bytes."""
    kind = rng.integers(3)
    value = int(rng.choice(_ODD) if kind == 0 else rng.integers(64 if kind == 1 else 1 << 32))
    return (value % (1 << 8 * size)).to_bytes(size, order)


def _with_number(rng, data, start, size=None):
    """Return the data with another number at a place."""
    size = size or int(rng.choice([1, 2, 4, 8]))
    written = _number(rng, size, rng.choice(["little", "big"]))
    return (data[:start] + written + data[start + size :])[: max(len(data), start + size)]


def _anywhere(rng, data, other):
    """Change, cut, lose, repeat or borrow bytes, half of the time near the beginning."""
    end = min(len(data), 400) if rng.random() < 0.5 else len(data)
    if not end:
        return other
    start, size = int(rng.integers(end)), int(rng.integers(1, 40))
    kind = rng.integers(7)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + data[start + size :]
    if kind == 2:
        return data[: start + size] + data[start:]
    if kind == 3:
        return data[:start] + other[start : start + size] + data[start + size :]
    if kind == 4:
        changed = bytearray(data)
        for place in rng.integers(start, end, rng.integers(1, 8)):
            changed[place] ^= 1 << rng.integers(8)
        return bytes(changed)
    return _with_number(rng, data, start)


def _split(data, start, length_of):
    """Return parts of a file, each of the length that `length_of` says at its start."""
    parts = [data[:start]]
    while start < len(data):
        length = max(1, length_of(start))
        parts.append(data[start : start + length])
        start += length
    return parts


def _rearranged(rng, parts, others):
    """Lose, repeat, move or borrow one of the parts after the first."""
    if len(parts) < 2:
        return parts
    place, kind = int(rng.integers(1, len(parts))), rng.integers(4)
    if kind == 0:
        return [*parts[:place], *parts[place + 1 :]]
    if kind == 1:
        return [*parts[: place + 1], *parts[place:]]
    if kind == 2:
        moved = parts.pop(place)
        parts.insert(int(rng.integers(1, len(parts) + 1)), moved)
        return parts
    return [*parts[:place], others[int(rng.integers(len(others)))], *parts[place:]]


def _png(rng, data, other):
    """Change chunks, or the pixels before they are compressed; checksums are right."""

    def split(whole):
        return _split(whole, 8, lambda at: 12 + int.from_bytes(whole[at : at + 4], "big"))

    parts = split(data)
    if rng.random() < 0.3:
        parts = _rearranged(rng, parts, split(other))
    place = int(rng.integers(len(parts)))
    body, kind = parts[place][8:-4], parts[place][4:8]
    if place and len(kind) == 4:
        if kind == b"IDAT":
            try:
                body = zlib.compress(_anywhere(rng, zlib.decompress(body), body), 1)
            except zlib.error:
                body = _anywhere(rng, body, other)
        elif body:
            body = _with_number(rng, body, int(rng.integers(len(body))))
        parts[place] = chunk(kind, body)
    return b"".join(parts)


def _jpeg(rng, data, other):
    """Change segments: their order and their bodies, and the bytes of the scan."""

    def split(whole):
        scan = whole.find(b"\xff\xda")
        head = whole[: scan if scan > 0 else len(whole)]
        parts = _split(head, 2, lambda at: 2 + int.from_bytes(whole[at + 2 : at + 4], "big"))
        return [*parts, whole[len(head) :]]

    parts = split(data)
    if rng.random() < 0.3:
        parts = _rearranged(rng, parts, split(other))
    place = int(rng.integers(len(parts)))
    part = parts[place]
    if len(part) > 4:
        # behind the marker and the length
        parts[place] = _with_number(rng, part, int(rng.integers(4, len(part))), 1)
    return b"".join(parts)


def _tiff(rng, data, other):
    """Change tag, type, number or value of an entry of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, 8 if is_big else 4)
        (number,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, start)
    except (struct.error, OverflowError):
        return _anywhere(rng, data, other)
    entry, first = (20, start + 8) if is_big else (12, start + 2)
    if not 0 < number < 1000:
        return _anywhere(rng, data, other)
    place, size = ((0, 2), (2, 2), (4, 4), (entry - 8 if is_big else 8, 4))[rng.integers(4)]
    position = first + entry * int(rng.integers(number)) + place
    written = _number(rng, size, "little" if order == "<" else "big")
    return data[:position] + written + data[position + size :]


def _bmp(rng, data, other):
    """Change a field of the header."""
    return _with_number(
        rng, data, int(rng.choice([10, 14, 18, 22, 26, 28, 30, 34, 46, 54, 58, 66]))
    )


def _webp(rng, data, other):
    """Change chunks; the length of the file is right."""

    def split(whole):
        return _split(
            whole, 12, lambda at: 8 + -(-int.from_bytes(whole[at + 4 : at + 8], "little") // 2) * 2
        )

    parts = _rearranged(rng, split(data), split(other))
    place = int(rng.integers(len(parts)))
    if place and len(parts[place]) > 8:
        parts[place] = _with_number(rng, parts[place], int(rng.integers(8, len(parts[place]))))
    file = io.BytesIO(b"".join(parts))
    file.seek(4)
    file.write(struct.pack("<I", max(0, len(file.getbuffer()) - 8)))
    return file.getvalue()
