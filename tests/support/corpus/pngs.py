"""PNG."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.support import image_files
from tests.support.corpus.base import CHEST, COLOR, HEIGHT, WARNING, WIDTH, Odd, by_pillow, flipped
from tests.support.image_files import GRAY_ALPHA, PALETTE, RGB, RGBA, chunk, exif, png_header


def pngs():
    palette = chunk(b"PLTE", bytes(level for gray in range(256) for level in [gray] * 3))
    opaque = np.dstack([CHEST, np.full_like(CHEST, 255)])
    deep = CHEST.astype(np.uint16)
    color = np.dstack([deep * 257] * 3)
    exact = {
        "2 bits.png": image_files.png(CHEST >> 6, depth=2),
        "4 bits.png": image_files.png(CHEST >> 4, depth=4),
        "a palette.png": image_files.png(CHEST, palette, color=PALETTE),
        "16 bits.png": image_files.png(deep * 257, depth=16),
        "12 bits stated in 16.png": image_files.png(deep * 16, chunk(b"sBIT", b"\x0c"), depth=16),
        "rotated by XMP.png": image_files.png(
            np.rot90(CHEST), chunk(b"tEXt", b'XML:com.adobe.xmp\0<a tiff:Orientation="6"/>')
        ),
        "RGB.png": image_files.png(COLOR, color=RGB),
        "16-bit RGB.png": image_files.png(color, depth=16, color=RGB),
        "gray and alpha.png": image_files.png(opaque, color=GRAY_ALPHA),
        "RGBA.png": image_files.png(np.dstack([COLOR, opaque[..., 1:]]), color=RGBA),
        "a transparent color of too many bits.png": image_files.png(
            COLOR, chunk(b"tRNS", b"\1\0" * 3), color=RGB
        ),
        "more colors and opacities than indices.png": image_files.png(
            CHEST >> 4,
            chunk(b"PLTE", bytes(level for gray in range(20) for level in [gray * 17 % 256] * 3)),
            chunk(b"tRNS", bytes(20)),
            depth=4,
            color=PALETTE,
        ),
        "one transparent color.png": image_files.png(COLOR, chunk(b"tRNS", bytes(6)), color=RGB),
        "interlaced.png": _interlaced(),
        "a wrong gamma.png": image_files.png(CHEST, chunk(b"gAMA", struct.pack(">I", 1))),
        "a broken color profile.png": image_files.png(CHEST, chunk(b"iCCP", b"x\0\0broken")),
        "bytes after the end.png": image_files.png(CHEST) + b"more",
        "rotated by EXIF.png": image_files.png(np.rot90(CHEST), chunk(b"eXIf", exif(6))),
        "broken EXIF.png": image_files.png(CHEST, chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")),
    }
    animation = by_pillow("PNG", CHEST, save_all=True, append_images=[Image.fromarray(255 - CHEST)])
    return {
        **{name: Odd(data) for name, data in exact.items()},
        "1 bit.png": Odd(by_pillow("PNG", np.random.default_rng(0).random(CHEST.shape) < 0.5)),
        "12 bits in 16.png": Odd(image_files.png(deep * 16, depth=16), WARNING),
        "a hot pixel.png": Odd(_hot_pixel(deep * 16), WARNING),
        "an animation.png": Odd(animation, WARNING),
        "one transparent gray.png": Odd(
            image_files.png(CHEST, chunk(b"tRNS", b"\0\x05")), "unsupported"
        ),
        "one pixel.png": Odd(image_files.png([[7]])),
        "1 x 5000.png": Odd(image_files.png(np.full((5000, 1), 99))),
        "a line longer than libpng takes.png": Odd(
            image_files.png(np.zeros((1, 1_000_001), np.uint8)), "too large"
        ),
        "no pixels at all.png": Odd(png_header(0, 0) + chunk(b"IEND"), "damaged"),
    }


def _hot_pixel(samples):
    samples[40, 50] = 65535
    return image_files.png(samples, depth=16)


def _interlaced():
    """Return the chest in the seven passes of Adam7."""
    passes = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)
    rows = [
        b"\0" + row.tobytes()
        for left, top, step_x, step_y in (*passes, (0, 1, 1, 2))
        for row in CHEST[top::step_y, left::step_x]
    ]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND")


def cut_pngs():
    data = image_files.png(CHEST)
    pixels = data.index(b"IDAT")
    text = zlib.compress(bytes(50_000_000))
    wrong = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in CHEST)))
    wrong[-1] ^= 1
    wrong_sum = png_header(WIDTH, HEIGHT) + chunk(b"IDAT", bytes(wrong)) + chunk(b"IEND")
    return {
        "cut in the signature.png": Odd(data[:6], "not an image"),
        "cut in the header.png": Odd(data[:20], "truncated"),
        "cut after the header.png": Odd(data[:33], "truncated"),
        "cut in the pixels.png": Odd(data[: pixels + 3000], "truncated", WARNING),
        "cut before its last chunk.png": Odd(data[:-12], "truncated", WARNING),
        "a wrong checksum of the header.png": Odd(flipped(data, 18, 1), "damaged"),
        "a wrong checksum of the pixels.png": Odd(
            flipped(data, pixels + 900, 1), "damaged", WARNING
        ),
        "a wrong checksum of a text.png": Odd(
            image_files.png(CHEST, chunk(b"tEXt", b"a\0text")[:-1] + b"?"), "damaged", WARNING
        ),
        "a wrong sum of the inflated pixels.png": Odd(wrong_sum, "damaged", WARNING),
        "half the rows.png": Odd(png_header(WIDTH, 2 * HEIGHT) + data[33:], "damaged", WARNING),
        "no pixels.png": Odd(png_header(WIDTH, HEIGHT) + chunk(b"IEND"), "damaged"),
        "two headers.png": Odd(data[:33] + data[8:], "damaged"),
        "a text that inflates to 50 MB.png": Odd(
            image_files.png(CHEST, chunk(b"zTXt", b"a\0\0" + text), chunk(b"iCCP", b"a\0\0" + text))
        ),
    }
