"""TIFF, WebP and BMP: what their own structure tells."""

import struct

import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import bmp, tiff, webp
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
        ("flipped bits in LZW.tif", "damaged: a strip of the TIFF (decoder error -2)"),
        ("flipped bits in deflated.tif", "damaged: a strip of the TIFF: Error -3 "),
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
