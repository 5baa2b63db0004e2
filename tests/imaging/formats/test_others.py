"""TIFF, WebP and BMP: what their own structure tells."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing
from cnnjobs.imaging.formats import bmp, tiff, webp
from tests.support import image_files
from tests.support.corpus import CHEST, files

MANY = 10**8
FILES = files()


def _error(module, data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        module.read(data, max_pixels=max_pixels)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flipped bits in LZW.tif", "damaged: a strip of the TIFF cannot be decompressed"),
        ("flipped bits in deflated.tif", "damaged: a strip of the TIFF cannot be inflated"),
        ("flipped bits in JPEG.tif", "damaged: libjpeg reports: "),
        ("LZMA.tif", "unsupported: a TIFF of compression 34925"),
        ("cut in its pixels.tif", "truncated: the TIFF ends before its directory"),
    ],
)
def test_a_tiff_that_opencv_would_take_is_refused(name, message):
    assert _error(tiff, FILES[name].data).startswith(message)


def test_a_tiff_whose_strip_lies_beyond_its_end_is_truncated():
    data = bytearray(FILES["LZW.tif"].data)
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, len(data) - 12, 12):
        if data[entry : entry + 2] == struct.pack("<H", 273):
            kind = "<I" if data[entry + 2] == 4 else "<H"
            struct.pack_into(kind, data, entry + 8, len(data) - 5)
    assert _error(tiff, bytes(data)) == "truncated: the TIFF ends before its pixels do"


def test_the_canvas_of_a_webp_is_measured():
    data = bytearray(FILES["an animation.webp"].data)
    data[24:30] = b"\xff\xff\x3f" * 2
    message = "too large: 4194304 x 4194304 pixels, 100000000 are allowed"
    assert _error(webp, bytes(data)) == message


def test_every_image_of_an_animated_webp_is_measured():
    data = bytearray(FILES["an animation.webp"].data)
    frame = data.index(b"VP8 ", 60)
    data[frame + 14 : frame + 18] = b"\xff\x3f\xff\x3f"
    message = "too large: 16383 x 16383 pixels, 100000000 are allowed"
    assert _error(webp, bytes(data)) == message


def test_a_cut_webp_says_what_it_lacks():
    data = FILES["lossy.webp"].data
    assert _error(webp, data[:-10]) == "truncated: the WebP lacks 10 bytes"


def test_a_cut_bmp_says_what_it_lacks():
    data = FILES["8 bits.bmp"].data
    assert _error(bmp, data[:-10]) == "truncated: the BMP lacks 10 bytes"
    assert _error(bmp, data[:20]) == "truncated: the BMP ends in its header"


def test_a_bmp_may_stand_upside_down():
    gray = bmp.read(FILES["from top to bottom.bmp"].data, max_pixels=MANY).gray
    assert (gray == CHEST).all()


FIELDS_555, FIELDS_565 = (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)


@pytest.mark.parametrize(
    ("masks", "dtype"),
    [
        ((0xFF0000, 0xFF00, 0xFF), np.uint32),
        ((0xFF000000, 0xFF0000, 0xFF00), np.uint32),
        (FIELDS_555, np.uint16),
        (FIELDS_565, np.uint16),
        ((), np.uint32),
        ((), np.uint16),
    ],
)
def test_the_colors_of_a_bmp_are_where_its_masks_say(masks, dtype):
    color = np.random.default_rng(0).integers(0, 256, (20, 33, 3))
    used = masks or (FIELDS_555 if dtype == np.uint16 else (0xFF0000, 0xFF00, 0xFF))
    pixels, wanted = np.zeros(color.shape[:2], dtype), 0
    for channel, (mask, weight) in enumerate(zip(used, (0.299, 0.587, 0.114), strict=True)):
        lowest = mask & -mask
        levels = np.rint(color[:, :, channel] * (mask // lowest / 255)).astype(dtype)
        pixels |= levels * dtype(lowest)
        wanted = wanted + levels * (weight * 255 / (mask // lowest))
    gray = bmp.read(image_files.bmp(pixels, masks=masks), max_pixels=MANY).gray
    assert np.abs(gray - wanted).max() < 1.5


def test_colors_of_other_masks_are_unsupported():
    data = image_files.bmp(CHEST.astype(np.uint32), masks=(0x3FF00000, 0xFFC00, 0x3FF))
    message = "unsupported: a BMP of a depth, compression or color masks that are not "
    assert _error(bmp, data).startswith(message)


@pytest.mark.parametrize("opacity", [0, 255])
def test_the_fourth_byte_of_a_bmp_without_masks_is_not_opacity(opacity):
    pixels = CHEST * np.uint32(0x010101) + np.uint32(opacity << 24)
    gray = bmp.read(image_files.bmp(pixels), max_pixels=MANY).gray
    np.testing.assert_array_equal(gray, CHEST)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_shows_what_was_drawn(mode):
    image = Image.fromarray(np.dstack([CHEST, 255 - CHEST, CHEST // 2])).convert(mode)
    file = io.BytesIO()
    image.save(file, "BMP")
    wanted = np.asarray(image.convert("RGB")) @ (0.299, 0.587, 0.114)
    gray = bmp.read(file.getvalue(), max_pixels=MANY).gray
    assert np.abs(gray - wanted).max() <= 0.51


def test_run_lengths_that_end_too_early_are_damage():
    message = r"^damaged: the BMP's pixels end too early$"
    with pytest.raises(ImageError, match=message):
        preprocessing.read(FILES["run lengths.bmp"].data[:-500], max_pixels=MANY)


def test_run_lengths_of_many_pixels_are_refused():
    data = bytearray(FILES["run lengths.bmp"].data)
    data[18:26] = struct.pack("<ii", 5000, 5000)
    assert _error(bmp, bytes(data)) == "unsupported: a compressed BMP of more than 16777216 pixels"
