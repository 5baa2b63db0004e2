"""Variants of PNG, JPEG, TIFF, BMP and WebP, made by script from a drawing.

Each is compared with an independent decoder (`raster_oracles`), or must be refused.
"""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.imaging.differential import written_bmp, written_png
from tests.support import image_files
from tests.support.corpus import CHEST, HEIGHT, WIDTH
from tests.support.corpus.base import by_pillow, encoded
from tests.support.image_files import chunk, exif

STEPS = (np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) * 255 // (HEIGHT + WIDTH)).astype("u1")
COLOR = np.dstack([CHEST, 255 - CHEST, STEPS])
OPACITY = np.rot90(STEPS, 2)
NUMBERS = range(1, 9)

#: (rows, columns) of sizes that end within bytes, strips, tiles and blocks, and of a single pixel.
SIZES = ((HEIGHT, WIDTH), (71, 95), (9, 33), (1, 1))


class Variant(NamedTuple):
    """A file; `refused` is how its error begins, None if it must be decoded."""

    name: str
    data: bytes
    refused: str | None = None


def variants() -> Iterator[Variant]:
    """All of them, each with a name of its own that begins with its format."""
    for format_, files in (
        ("PNG", _pngs()),
        ("JPEG", _jpegs()),
        ("TIFF", itertools.chain(_grays(), _colors(), _compressed(), _other_tiffs())),
        ("BMP", _bmps()),
        ("WebP", _webps()),
    ):
        for name, data, *refused in files:
            yield Variant(f"{format_} {name}", data, *refused)


def quantized(levels, bits):
    """Turn levels from 0 to 255 into those of a depth."""
    return np.rint(levels * (((1 << bits) - 1) / 255)).astype(np.uint8 if bits <= 8 else np.uint16)


def _pngs():
    alpha = OPACITY[..., np.newaxis]
    channels = {
        0: (CHEST, (1, 2, 4, 8, 16)),
        2: (COLOR, (8, 16)),
        4: (np.dstack([CHEST, alpha]), (8, 16)),
        6: (np.dstack([COLOR, alpha]), (8, 16)),
    }
    for color, (levels, depths) in channels.items():
        for depth, interlaced, (rows, columns) in itertools.product(depths, (False, True), SIZES):
            samples = quantized(levels[:rows, :columns], depth)
            name = f"color {color}, {depth} bits, {rows} x {columns}, interlaced {interlaced}"
            yield name, written_png.png(samples, depth, color, interlaced=interlaced)
    rng = np.random.default_rng(0)
    for depth, interlaced, opaque in itertools.product((1, 2, 4, 8), (False, True), (True, False)):
        palette = chunk(b"PLTE", rng.bytes(3 << depth))
        before = [palette] if opaque else [palette, chunk(b"tRNS", rng.bytes(1 << depth))]
        samples = quantized(CHEST, depth)
        name = f"palette, {depth} bits, interlaced {interlaced}, opaque {opaque}"
        yield name, written_png.png(samples, depth, 3, *before, interlaced=interlaced)
    yield (
        "one transparent color",
        image_files.png(COLOR, chunk(b"tRNS", struct.pack(">3H", *COLOR[9, 9].tolist())), color=2),
    )
    transparent = chunk(b"tRNS", b"\0\x10")
    yield "one transparent gray", image_files.png(CHEST, transparent), "unsupported: one gray"
    for bits in (10, 12, 14):
        stated = chunk(b"sBIT", bytes([bits]))
        samples = quantized(CHEST, bits)
        yield f"sBIT {bits} of 16", image_files.png(samples, stated, depth=16)
        yield f"sBIT {bits}, dark", image_files.png(samples // 4, stated, depth=16)
        yield f"{bits} of 16 bits", image_files.png(samples, depth=16)
        samples[3, 4] = 65535
        yield f"{bits} of 16 bits, hot", image_files.png(samples, depth=16)
    for gamma in (1, 45455, 220000):
        yield f"gamma {gamma}", image_files.png(CHEST, chunk(b"gAMA", struct.pack(">I", gamma)))
    for number in NUMBERS:
        yield f"EXIF {number}", image_files.png(CHEST, chunk(b"eXIf", exif(number)))


def _jpegs():
    sampling = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:2:0": 0x221111, "4:4:0": 0x121111}
    sampling |= {"4:1:1": 0x411111}
    for (name, value), progressive, (rows, columns) in itertools.product(
        sampling.items(), (0, 1), SIZES
    ):
        options = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, value, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive
        kind = f"{name}, progressive {progressive}, {rows} x {columns}"
        yield kind, encoded(".jpg", np.ascontiguousarray(COLOR[:rows, :columns]), *options)
    for quality, restart in itertools.product((1, 50, 100), (0, 1)):
        options = {"quality": quality, "restart_marker_rows": restart}
        yield f"gray, quality {quality}, restarts {restart}", by_pillow("JPEG", CHEST, **options)
    yield "RGB, not converted", by_pillow("JPEG", COLOR, keep_rgb=True)
    inks = Image.fromarray(255 - COLOR).convert("CMYK")
    for quality in (60, 95):
        file = io.BytesIO()
        inks.save(file, "JPEG", quality=quality)
        yield f"CMYK of Adobe, quality {quality}", file.getvalue()
    for number in NUMBERS:
        image = by_pillow("JPEG", CHEST, exif=b"Exif\0\0" + exif(number))
        yield f"EXIF {number}", image
    deep = quantized(CHEST, 12)
    twelve = imagecodecs.jpeg_encode(deep, bitspersample=12)
    yield "12 bits", twelve, "unsupported: a JPEG of 12 bits"
    yield "lossless", imagecodecs.ljpeg_encode(CHEST)
    yield "JPEG-LS", imagecodecs.jpegls_encode(CHEST), "unsupported: a JPEG-LS image"


LAYOUTS = {
    "one strip": {},
    "strips of 7": {"rows": 7},
    "tiles": {"tile": (16, 16)},
    "wide tiles": {"tile": (16, 48)},
}


def _grays():
    for bits, photometric, (layout, options) in itertools.product(
        (1, 2, 4, 6, 8, 9, 10, 12, 14, 15, 16), (0, 1), LAYOUTS.items()
    ):
        for order, (rows, columns) in zip("<><>", SIZES, strict=True):
            data = image_files.tiff(
                quantized(CHEST[:rows, :columns], bits),
                bits=bits,
                photometric=photometric,
                order=order,
                compression=8 if rows > 70 else 1,
                **options,
            )
            yield f"gray {photometric}, {bits} bits, {layout}, {order} {rows} x {columns}", data
    for bits in (10, 12, 14):
        samples = quantized(CHEST, bits)
        largest = {341: (3, [(1 << bits) - 1])}
        yield f"{bits} of 16 bits", image_files.tiff(samples)
        yield f"{bits} of 16 bits, stated", image_files.tiff(samples // 8, tags=largest)
        samples[3, 4] = 65535
        yield f"{bits} of 16 bits, hot", image_files.tiff(samples)


def _colors():
    for bits, planar, (layout, options) in itertools.product(
        (4, 8, 10, 12, 14, 16), (False, True), LAYOUTS.items()
    ):
        kind = {"bits": bits, "planar": planar, **options}
        name = f"{bits} bits, planar {planar}, {layout}"
        samples = quantized(COLOR, bits)
        yield f"RGB {name}", image_files.tiff(samples, photometric=2, **kind)
        inks = quantized(np.dstack([255 - COLOR, OPACITY // 4]), bits)
        yield f"CMYK {name}", image_files.tiff(inks, photometric=5, **kind)
    for bits, extra, color in itertools.product((8, 12, 16), (0, 1, 2), (False, True)):
        levels = np.dstack([COLOR if color else CHEST, OPACITY])
        if extra == 1:
            levels = np.dstack([levels[..., :-1] * (OPACITY[..., np.newaxis] / 255), OPACITY])
        samples, photometric = quantized(levels, bits), 2 if color else 1
        kind = {"photometric": photometric, "extra_samples": extra, "bits": bits}
        yield f"extra sample {extra}, color {color}, {bits} bits", image_files.tiff(samples, **kind)
    rng = np.random.default_rng(1)
    for bits, (layout, options) in itertools.product((1, 2, 4, 8), LAYOUTS.items()):
        palette = {320: (3, rng.integers(0, 65536, 3 << bits).tolist())}
        kind = {"photometric": 3, "bits": bits, "tags": palette, **options}
        yield f"palette, {bits} bits, {layout}", image_files.tiff(quantized(CHEST, bits), **kind)


def by_tifffile(samples, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **options)
    return file.getvalue()


def _compressed():
    kinds = ("lzw", "deflate", "adobe_deflate", "packbits", None)
    for kind, dtype, layout in itertools.product(
        kinds, ("u1", "u2"), ({"rowsperstrip": 5}, {"tile": (32, 16)})
    ):
        gray = CHEST.astype(dtype) * (257 if dtype == "u2" else 1)
        color = COLOR.astype(dtype) * (257 if dtype == "u2" else 1)
        for predictor in (1, 2) if kind not in ("packbits", None) else (1,):
            for order, big in itertools.product("<>", (False, True)):
                options = {"compression": kind, "byteorder": order, "bigtiff": big, **layout}
                options["predictor"] = predictor if predictor > 1 else None
                name = f"{kind}, {dtype}, predictor {predictor}, {order} {big} {[*layout]}"
                yield f"gray {name}", by_tifffile(gray, photometric="minisblack", **options)
                yield f"RGB {name}", by_tifffile(color, photometric="rgb", **options)
    for kind in ("tiff_ccitt", "group3", "group4"):
        yield f"CCITT {kind}", by_pillow("TIFF", CHEST > 100, compression=kind)
    for pixels, quality in itertools.product((CHEST, COLOR), (50, 95)):
        name = f"JPEG of {pixels.ndim} axes, quality {quality}"
        yield name, by_pillow("TIFF", pixels, compression="jpeg", quality=quality)
        tiled = {"tile": (32, 32), "compression": "jpeg"}
        tiled["compressionargs"] = {"level": quality}
        yield (
            f"tiled {name}",
            by_tifffile(pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", **tiled),
        )
    for kind in ("zstd", "webp", "lzma", "png", "jpegxl", "jpeg2000", "lerc"):
        data = by_tifffile(COLOR, photometric="rgb", compression=kind)
        yield f"compressed by {kind}", data, "unsupported: a TIFF of compression "


def _other_tiffs():
    for number in NUMBERS:
        for samples in (CHEST, CHEST.astype(np.uint16) * 257):
            name = f"orientation {number}, {samples.dtype}"
            yield name, image_files.tiff(samples, orientation=number)
    lab = "unsupported: a TIFF of compression 1, photometric interpretation 8"
    yield "Lab", image_files.tiff(COLOR, photometric=8), lab
    for dtype in ("i1", "i2", "u4", "i4", "f2", "f4", "f8"):
        samples = CHEST.astype(dtype)
        for predictor in (None, 3) if dtype[0] == "f" else (None,):
            options = {"predictor": predictor, "compression": "deflate" if predictor else None}
            data = by_tifffile(samples, photometric="minisblack", **options)
            yield f"{dtype}, predictor {predictor}", data, "unsupported: "
    small = np.ascontiguousarray(CHEST[::4, ::4])
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(small, subfiletype=1, photometric="minisblack", metadata=None)
        writer.write(CHEST, photometric="minisblack", metadata=None)
    yield "thumbnail first", file.getvalue()


def _bmps():
    for (rows, columns), down, header in itertools.product(SIZES, (False, True), (12, 40, 108)):
        if down and header == 12:
            continue
        gray, color = CHEST[:rows, :columns], COLOR[:rows, :columns]
        kind = {"down": down, "header": header}
        name = f"{rows} x {columns}, down {down}, header {header}"
        for bits, palette in itertools.product((1, 4, 8), written_bmp.PALETTES):
            data = written_bmp.indexed(quantized(gray, bits), bits, palette, **kind)
            yield f"{bits} bits, {palette}, {name}", data
        yield f"24 bits, {name}", written_bmp.direct(color, 24, **kind)
        if header > 12:
            yield f"16 bits, {name}", written_bmp.direct(color, 16, **kind)
            yield f"32 bits, {name}", written_bmp.direct(color, 32, **kind)
    for bits, palette in itertools.product((1, 4, 8), ("two", "two reversed", "one", "dark")):
        samples = CHEST > 100 if palette != "dark" else quantized(CHEST, bits)
        samples = samples.astype(np.uint8) * (palette != "one")
        yield f"{bits} bits, {palette}", written_bmp.indexed(samples, bits, palette)
    for masks, bits in written_bmp.MASKS.items():
        yield f"masks {masks}", written_bmp.direct(COLOR, bits, masks=masks)
    for masks, bits in written_bmp.ODD_MASKS.items():
        data = written_bmp.direct(COLOR, bits, masks=masks)
        yield f"odd masks {masks}", data, "unsupported: a BMP of a depth, compression or "
    for bits, palette in itertools.product((4, 8), ("two", "dark", "gray")):
        samples = quantized(CHEST, bits) if palette != "two" else (CHEST > 100).astype(np.uint8)
        data = written_bmp.run_lengths(samples, bits, "runs", palette)
        yield f"RLE{bits}, {palette}", data
    for bits, how in itertools.product((4, 8), ("runs", "absolute", "delta")):
        for rows, columns in SIZES:
            samples = quantized(CHEST[:rows, :columns], bits)
            name = f"RLE{bits}, {how}, {rows} x {columns}"
            yield name, written_bmp.run_lengths(samples, bits, how)


def _webps():
    for (rows, columns), quality in itertools.product(SIZES, (10, 80, 100)):
        color = np.ascontiguousarray(COLOR[:rows, :columns])
        yield f"lossy {quality}, {rows} x {columns}", by_pillow("WEBP", color, quality=quality)
        both = np.dstack([color, OPACITY[:rows, :columns]])
        yield (
            f"lossy {quality}, alpha, {rows} x {columns}",
            by_pillow("WEBP", both, quality=quality, exact=True),
        )
    for method, samples in itertools.product((0, 6), (COLOR, np.dstack([COLOR, OPACITY]))):
        name = f"lossless, method {method}, {samples.shape[2]} channels"
        yield name, by_pillow("WEBP", samples, lossless=True, method=method, exact=True)
    for number in NUMBERS:
        yield f"EXIF {number}", by_pillow("WEBP", COLOR, lossless=True, exif=exif(number))
