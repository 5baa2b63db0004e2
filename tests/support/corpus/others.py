"""TIFF, WebP and BMP."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

from tests.support.corpus.base import (
    CHEST,
    COLOR,
    HEIGHT,
    WARNING,
    WIDTH,
    Odd,
    by_pillow,
    encoded,
    flipped,
)
from tests.support.image_files import bmp, tiff


def tiffs():
    deep = CHEST.astype(np.uint16) * 257
    lzw, deflated, packed = (
        encoded(".tif", CHEST, cv2.IMWRITE_TIFF_COMPRESSION, kind) for kind in (5, 8, 32773)
    )
    middle = len(lzw) // 3
    two = by_pillow("TIFF", CHEST, save_all=True, append_images=[Image.fromarray(CHEST)])
    jpeg = by_pillow("TIFF", CHEST, compression="jpeg")
    sound = {
        "not compressed.tif": tiff(CHEST),
        "big-endian.tif": _encoded_big_endian(CHEST),
        "white is zero.tif": tiff(255 - CHEST, photometric=0),
        "16 bits.tif": tiff(deep),
        "16 bits, white is zero.tif": tiff(65535 - deep, photometric=0),
        "12 bits, white is zero.tif": tiff(4095 - (deep >> 4), photometric=0, bits=12),
        "gray and alpha.tif": tiff(np.dstack([CHEST, CHEST * 0 + 255]), extra_samples=2),
        "RGB in planes.tif": tiff(np.dstack([deep] * 3), photometric=2, planar=True, rows=16),
        "small tiles.tif": tiff(CHEST, tile=(16, 16), compression=8),
        "RGB.tif": tiff(COLOR, photometric=2),
        "tiles.tif": tiled(),
        "LZW.tif": lzw,
        "deflated.tif": deflated,
        "PackBits.tif": packed,
        "JPEG in TIFF.tif": jpeg,
        "BigTIFF.tif": by_pillow("TIFF", CHEST, big_tiff=True),
        "rotated.tif": tiff(np.ascontiguousarray(np.rot90(CHEST)), orientation=6),
    }
    damage = {
        "flipped bits in LZW.tif": flipped(lzw, middle, 30),
        "flipped bits in deflated.tif": flipped(deflated, len(deflated) // 3, 30),
        "flipped bits in JPEG.tif": flipped(jpeg, jpeg.index(b"\xff\xda") + 500, 30),
    }
    return {
        **{name: Odd(file) for name, file in sound.items()},
        **{name: Odd(file, "damaged") for name, file in damage.items()},
        "two pages.tif": Odd(two, WARNING),
        "a thumbnail first.tif": Odd(_thumbnail_first(), WARNING),
        "float pixels.tif": Odd(tiff(CHEST.astype(np.float32)), "unsupported"),
        "signed pixels.tif": Odd(tiff(CHEST.astype(np.int16)), "unsupported"),
        "two unexplained samples.tif": Odd(tiff(np.dstack([CHEST] * 2)), "unsupported"),
        "LZMA.tif": Odd(by_pillow("TIFF", CHEST, compression="lzma"), "unsupported"),
        "cut in its pixels.tif": Odd(tiff(CHEST)[:3000], "truncated"),
        "header only.tif": Odd(b"II*\0\x08\0\0\0", "truncated"),
        "an offset beyond all integers.tif": Odd(b"II+\0\x08\0\0\0" + b"\xff" * 8, "truncated"),
        "a directory that is its own next.tif": Odd(_endless(), WARNING),
    }


def _thumbnail_first():
    small = Image.fromarray(CHEST[::4, ::4])
    file = io.BytesIO()
    options = {"save_all": True, "append_images": [Image.fromarray(CHEST)], "tiffinfo": {254: 1}}
    small.save(file, "TIFF", **options)
    data = bytearray(file.getvalue())
    # Pillow writes the tag to both pages: the second becomes one of full resolution
    second = data.rindex(struct.pack("<HHI", 254, 4, 1))
    data[second + 8] = 0
    return bytes(data)


def _encoded_big_endian(pixels):
    tags = [(256, WIDTH), (257, HEIGHT), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, HEIGHT), (279, pixels.size)]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    return struct.pack(">2sHI", b"MM", 42, 8 + pixels.size) + pixels.tobytes() + directory


def tiled(tile=(32, 32), sides=(WIDTH, HEIGHT)):
    height, width = tile
    tiles = [
        CHEST[top : top + height, left : left + width]
        for top in range(0, HEIGHT, height)
        for left in range(0, WIDTH, width)
    ]
    padded = [
        np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]))) for part in tiles
    ]
    pixels = b"".join(part.tobytes() for part in padded)
    count, size = len(tiles), height * width
    end = 8 + len(pixels)
    places = struct.pack(f"<{count}I", *range(8, end, size))
    tags = [(256, 1, sides[0]), (257, 1, sides[1]), (258, 1, 8), (259, 1, 1), (262, 1, 1)]
    tags += [(277, 1, 1), (322, 1, width), (323, 1, height)]
    tags += [(324, count, end), (325, count, end + 4 * count)]
    entries = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    sizes = struct.pack(f"<{count}I", *[size] * count)
    start = end + 8 * count
    return struct.pack("<2sHI", b"II", 42, start) + pixels + places + sizes + directory


def _endless():
    data = tiff(CHEST)
    start = struct.unpack_from("<I", data, 4)[0]
    following = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    return data[:following] + struct.pack("<I", start) + data[following + 4 :]


def webps():
    lossy, lossless = (
        encoded(".webp", COLOR),
        encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 101),
    )
    opaque = np.dstack([COLOR, np.full_like(CHEST, 255)])
    several = by_pillow("WEBP", COLOR, save_all=True, append_images=[Image.fromarray(255 - COLOR)])
    return {
        "lossy.webp": Odd(lossy),
        "lossless.webp": Odd(lossless),
        "alpha.webp": Odd(encoded(".webp", opaque, cv2.IMWRITE_WEBP_QUALITY, 101)),
        "an animation.webp": Odd(several, WARNING),
        "cut.webp": Odd(lossy[: len(lossy) // 2], "truncated"),
        "header only.webp": Odd(lossy[:16], "truncated"),
        "no image in it.webp": Odd(b"RIFF\x0c\0\0\0WEBPEXIF\0\0\0\0", "damaged"),
        "flipped bits.webp": Odd(flipped(lossless, 40, 60), "damaged"),
        "a sound file of another kind.webp": Odd(b"RIFF\x04\0\0\0WAVE", "not an image"),
    }


def bmps():
    data = encoded(".bmp", CHEST)
    upside_down = bytearray(encoded(".bmp", CHEST[::-1]))
    upside_down[22:26] = struct.pack("<i", -HEIGHT)
    return {
        "8 bits.bmp": Odd(data),
        "24 bits.bmp": Odd(encoded(".bmp", COLOR)),
        "from top to bottom.bmp": Odd(bytes(upside_down)),
        "bit fields.bmp": Odd(
            bmp(CHEST * np.uint32(0x01010100), masks=(0xFF << 24, 0xFF << 16, 0xFF << 8))
        ),
        "run lengths.bmp": Odd(_run_lengths()),
        "cut.bmp": Odd(data[: len(data) // 2], "truncated"),
        "header only.bmp": Odd(data[:20], "truncated"),
    }


def _run_lengths():
    """Return the chest as RLE8, each pixel a run of its own."""
    rows = [b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in CHEST[::-1]]
    pixels = b"".join(rows) + b"\0\1"
    palette = b"".join(bytes([level] * 3 + [0]) for level in range(256))
    start = 54 + len(palette)
    header = struct.pack("<2sIII", b"BM", start + len(pixels), 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return header + info + palette + pixels
