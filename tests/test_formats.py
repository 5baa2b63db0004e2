import struct

import cv2
import numpy as np
import pytest

from cnnjobs import formats
from cnnjobs.errors import ImageError
from tests.image_files import PALETTE, RGB, chunk, exif, png, png_header

MANY = 10**9
PIXELS = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def _jpeg(*options):
    return cv2.imencode(".jpg", PIXELS, list(options))[1].tobytes()


def _error(check, data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        check(data, max_pixels)
    return str(caught.value)


@pytest.mark.parametrize("after_it", [b"", b"trailing"])
def test_a_whole_png_passes_also_with_bytes_after_its_last_chunk(after_it):
    formats.check_png(png(PIXELS) + after_it, MANY)


def test_a_palette_with_transparency_passes_and_one_transparent_gray_value_does_not():
    palette, transparency = chunk(b"PLTE", bytes(12)), chunk(b"tRNS", b"\0\x80")
    formats.check_png(png(PIXELS % 4, palette, transparency, color=PALETTE), MANY)
    message = "unsupported: one gray value of the PNG is transparent"
    assert _error(formats.check_png, png(PIXELS, transparency)) == message


def test_a_png_cut_in_half_is_truncated():
    data = png(PIXELS)
    message = "truncated: the PNG ends before its last chunk"
    assert _error(formats.check_png, data[: len(data) // 2]) == message


def test_a_png_cut_anywhere_is_truncated():
    data = png(PIXELS)
    for end in range(len(formats.PNG), len(data)):
        assert _error(formats.check_png, data[:end]).startswith("truncated: "), end


def test_a_png_that_lacks_only_its_last_chunk_is_truncated():
    data = png(PIXELS).removesuffix(chunk(b"IEND"))
    assert _error(formats.check_png, data) == "truncated: the PNG ends before its last chunk"


def test_a_flipped_byte_in_a_png_chunk_is_damage():
    data = bytearray(png(PIXELS))
    data[data.index(b"IDAT") + 20] ^= 1
    assert _error(formats.check_png, bytes(data)) == "damaged: a IDAT chunk has a wrong checksum"


def test_a_flipped_byte_anywhere_in_a_png_is_noticed():
    whole = png(PIXELS[:8, :8])
    for position in range(len(formats.PNG), len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x10
        assert _error(formats.check_png, bytes(data)).split(":")[0] in ("damaged", "truncated")


def test_a_png_too_large_by_its_header_is_refused_before_its_pixels():
    data = png_header(30_000, 40_000) + chunk(b"IDAT", b"no pixels") + chunk(b"IEND")
    message = "too large: 30000 x 40000 pixels, 200000000 are allowed"
    assert _error(formats.check_png, data, 200_000_000) == message


def test_the_largest_header_a_png_can_have_is_too_large():
    data = png_header(2**31 - 1, 2**31 - 1, 16, RGB) + chunk(b"IEND")
    assert _error(formats.check_png, data).startswith("too large: 2147483647 x 2147483647 ")


def test_a_whole_jpeg_passes():
    formats.check_jpeg(_jpeg(), MANY)
    formats.check_jpeg(_jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), MANY)
    formats.check_jpeg(_jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1), MANY)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    formats.check_jpeg(_jpeg() + b"trailing", MANY)


def test_fill_bytes_before_a_jpeg_marker_are_skipped():
    data = _jpeg()
    formats.check_jpeg(data[:2] + b"\xff\xff\xff" + data[2:], MANY)


@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)]
)
def test_a_jpeg_cut_anywhere_is_truncated(options):
    data = _jpeg(*options)
    for end in range(len(formats.JPEG), len(data)):
        assert _error(formats.check_jpeg, data[:end]).startswith("truncated: "), end


def test_a_jpeg_cut_in_its_scan_says_so():
    assert _error(formats.check_jpeg, _jpeg()[:-2]) == "truncated: the JPEG's scan has no end"


def test_a_jpeg_cut_in_its_header_says_so():
    message = "truncated: the JPEG ends before its pixels"
    assert _error(formats.check_jpeg, _jpeg()[:30]) == message


def test_a_jpeg_cut_in_its_frame_header_is_truncated_whatever_the_limit():
    data = _jpeg()
    frame = data.index(b"\xff\xc0")
    for end in range(frame, frame + 9):
        assert _error(formats.check_jpeg, data[:end], PIXELS.size).startswith("truncated: "), end


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = cv2.imencode(".jpg", PIXELS[:16, :16])[1].tobytes()
    block = np.frombuffer(exif(1, thumbnail=thumbnail), np.uint8)
    kinds = [cv2.IMAGE_METADATA_EXIF]
    data = cv2.imencodeWithMetadata(".jpg", PIXELS, kinds, [block])[1].tobytes()
    assert data.index(b"\xff\xd9") < data.rindex(b"\xff\xda")
    formats.check_jpeg(data, MANY)
    for end in range(len(formats.JPEG), len(data)):
        assert _error(formats.check_jpeg, data[:end]).startswith("truncated: "), end


def test_a_jpeg_without_the_marker_that_must_follow_is_damaged():
    data = bytearray(_jpeg())
    data[2 + 2 + int.from_bytes(data[4:6], "big")] = 0
    assert _error(formats.check_jpeg, bytes(data)) == "damaged: a JPEG marker is missing"


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_jpeg_too_large_by_its_header_is_refused_before_its_pixels(options):
    data = bytearray(_jpeg(*options))
    frame = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 50_000, 60_000)
    message = "too large: 60000 x 50000 pixels, 200000000 are allowed"
    assert _error(formats.check_jpeg, bytes(data), 200_000_000) == message


def test_as_many_pixels_as_allowed_are_allowed():
    formats.check_size(20, 10, 200)
    with pytest.raises(ImageError, match=r"^too large: 20 x 10 pixels, 199 are allowed$"):
        formats.check_size(20, 10, 199)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_in_both_byte_orders(orientation, order):
    assert formats.exif_orientation(exif(orientation, order)) == orientation
    assert formats.exif_orientation(b"Exif\0\0" + exif(orientation, order)) == orientation


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation):
    assert formats.exif_orientation(exif(orientation)) == 1


def test_a_directory_without_an_orientation_is_upright():
    width = struct.pack("<HHIHH", 0x0100, 3, 1, 6, 0)
    assert formats.exif_orientation(b"II*\0" + struct.pack("<IH", 8, 1) + width) == 1


def test_a_broken_exif_block_is_upright():
    whole = exif(6)
    orientations = {formats.exif_orientation(whole[:end]) for end in range(18)}
    assert orientations == {1}
    assert formats.exif_orientation(b"text, no EXIF") == 1
    assert formats.exif_orientation(b"II*\0" + struct.pack("<I", 2**32 - 1)) == 1
