"""Gray pixels of a file by a decoder that the package does not use for it.

PNG, JPEG and WebP by Pillow (which keeps 8 of 16 bits of color), TIFF by tifffile and imagecodecs,
BMP by imagecodecs, OpenCV or, run lengths, here. What is done to the samples is done here again, in
floating point, as docs/files.md says.
"""

import io
import re
import struct

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps

LUMA = np.array([0.299, 0.587, 0.114])
DEPTHS = (8, 10, 12, 14)

#: What Pillow calls the undoing of each orientation.
_TRANSPOSED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def shown(data):
    """Return the (height, width) gray levels from 0 to 255 that the file should show."""
    if data.startswith(b"\x89PNG"):
        return _png(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith((b"II", b"MM")):
        return _tiff(data)
    if b"\xff\xc3" in data[:600]:
        return _gray(imagecodecs.ljpeg_decode(data), 1, 255)
    return _by_pillow(data)


def _by_pillow(data):
    with Image.open(io.BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file)
    if "transparency" in image.info or image.mode in ("LA", "RGBA", "PA"):
        return _gray(np.asarray(image.convert("RGBA")), 3, 255)
    return _gray(np.asarray(image.convert("RGB")), 3, 255)


def _gray(samples, num_colors, largest, opacity=None):
    """Return the luma of (height, width, channels), in which alpha follows the colors."""
    samples = samples.reshape(*samples.shape[:2], -1) / largest
    gray = samples[..., :3] @ LUMA if num_colors >= 3 else samples[..., 0]
    if opacity is None and samples.shape[2] == num_colors + 1:
        opacity = samples[..., num_colors]
    return 255 * (gray if opacity is None else gray * opacity)


def _largest(samples, stated):
    """Return the largest value of the depth: the stated one, or the guess of docs/files.md."""
    above = [(bits, (samples >= 1 << bits).mean()) for bits in DEPTHS]
    if stated and (samples >= 1 << stated).mean() <= 0.001:
        return (1 << stated) - 1
    return next(((1 << bits) - 1 for bits, share in above if share <= 0.001), 65535)


def _png(data):
    depth, color = data[24:26]
    if depth < 16:
        return _by_pillow(data)
    if color != 0:
        gray = _by_pillow(data)
        return np.minimum(gray * (65535 / _largest(gray * 257, None)), 255)
    with Image.open(io.BytesIO(data)) as file:
        samples = np.asarray(file)
    found = re.search(rb"sBIT(.)", data, re.DOTALL)
    largest = _largest(samples, found[1][0] if found else None)
    return np.minimum(_gray(samples, 1, largest), 255)


def _tiff(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        # a thumbnail is not the image
        page = next(page for page in file.pages if not page.subfiletype & 1)
        samples, tags, bits = page.asarray(), page.tags, page.bitspersample
        kind, extra = int(page.photometric), [int(extra) for extra in page.extrasamples]
        if page.planarconfig == 2 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, -1)
    if samples.dtype == bool:
        bits = 1
    largest = (1 << bits) - 1
    if kind == 3:
        gray = _gray(page.colormap[:, samples.astype(int)].transpose(1, 2, 0) >> 8, 3, 255)
    elif kind == 5:
        light = 1 - samples / largest
        gray = _gray(light, 3, 1, light[..., 3])
    elif kind == 0:
        gray = _gray(largest - samples.astype(int), 1, largest)
    else:
        num_colors = 3 if kind in (2, 6) else 1
        stated = tags.valueof(341) or tags.valueof(281)
        if bits == 16 and num_colors == 1 and not extra:
            largest = _largest(samples, stated.bit_length() if stated else None)
        # other extra samples are without a meaning, or colors are multiplied by them already
        opacity = None if 2 in extra else 1
        gray = _gray(samples.astype(float), num_colors, largest, opacity)
    gray = np.minimum(gray, 255)
    number = tags.valueof(274) or 1
    if number == 1:
        return gray
    return np.asarray(Image.fromarray(gray.astype(np.float32)).transpose(_TRANSPOSED[number]))


def _bmp(data):
    header, bits = data[14], data[28]
    if header == 12:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return _gray(samples[..., ::-1], 3, 255)
    (compression,) = struct.unpack_from("<I", data, 30)
    if compression in (1, 2):
        return _run_lengths(data, bits)
    samples = imagecodecs.bmp_decode(data, asrgb=True)
    has_alpha = header >= 56 and compression == 3 and any(data[66:70])
    return _gray(samples if has_alpha else samples[..., :3], 3, 255)


def _run_lengths(data, bits):
    """Decode RLE8 and RLE4 (Microsoft, "Bitmap Compression")."""
    start, _, width, height = struct.unpack_from("<IIii", data, 10)
    indices, x, y = np.zeros((height, width), int), 0, height - 1
    while data[start : start + 2] != b"\0\1":
        number, value = data[start : start + 2]
        start += 2
        if number:
            pair = [value >> 4, value & 15] if bits == 4 else [value, value]
            indices[y, x : x + number] = np.resize(pair, number)
            x += number
        elif value == 0:
            x, y = 0, y - 1
        elif value == 2:
            x, y = x + data[start], y - data[start + 1]
            start += 2
        else:
            size = (value + 1) // 2 if bits == 4 else value
            body = np.frombuffer(data, np.uint8, size, start)
            pixels = np.stack([body >> 4, body & 15], axis=1).ravel() if bits == 4 else body
            indices[y, x : x + value] = pixels[:value]
            x, start = x + value, start + size + size % 2
    (num_colors,) = struct.unpack_from("<I", data, 46)
    palette = np.frombuffer(data, np.uint8, 4 * num_colors, 54).reshape(-1, 4)
    return _gray(palette[indices][..., 2::-1], 3, 255)
