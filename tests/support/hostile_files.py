"""Small files that would take much memory or time, and files that cannot be read to an end."""

import itertools
import os
import socket
import struct
import zlib

from tests.support import image_files
from tests.support.image_files import chunk

SPARSE_BYTES = 300 << 30


def write_unreadable(folder):
    """Write what may stand under the name of an image, by name; all of it at once in a folder."""
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(SPARSE_BYTES)
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.png"))
    (folder / "folder.png").mkdir()
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "proc.png").symlink_to("/proc/self/status")
    return sorted(folder.iterdir())


def zeros(number):
    """Return a zlib stream of so many zeros, without ever holding them."""
    deflater = zlib.compressobj(9)
    sizes = (min(1 << 20, number - start) for start in range(0, number, 1 << 20))
    return b"".join([*(deflater.compress(bytes(size)) for size in sizes), deflater.flush()])


def png_of_zeros(width, height, *, depth=8, color=image_files.GRAY, more=0, interlaced=False):
    """Return a black PNG; `more` zeros follow its last row in the compressed stream."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    size = height * (1 + (width * depth * channels + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    kinds = [chunk(b"IHDR", header), chunk(b"IDAT", zeros(size + more)), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(kinds)


def tiff_of_strips(width, height, body, *, number=1, rows=None, bits=8, samples=1, tags=()):
    """Return a deflated TIFF whose strips all have the same bytes."""
    places = itertools.accumulate([len(body)] * (number - 1), initial=16)
    layout = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [8]),
        262: (3, [2 if samples > 2 else 1]),
        273: (4, list(places)),
        277: (3, [samples]),
        278: (4, [rows or height]),
        279: (4, [len(body)] * number),
        **dict(tags),
    }
    start = 16 + number * len(body)
    head = struct.pack("<2sHIQ", b"II", 42, start, 0)
    return head + body * number + image_files.tiff_directory(layout, start)


def jpeg_of_scans(data, number):
    """Return a JPEG with its scan repeated."""
    start = data.index(b"\xff\xda")
    return data[:start] + data[start:-2] * number + data[-2:]
