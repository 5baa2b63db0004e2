import struct
import zlib

import cv2
import numpy as np
import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import PNG, opencv, png, png_bands, png_filters, png_stored
from tests.support import image_files
from tests.support.image_files import PALETTE, RGB, chunk, png_header
from tests.support.image_files import png as png_file

MANY = 10**9
PIXELS = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def _read(data):
    return png.read(data, max_pixels=MANY)


def _error(data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        png.read(data, max_pixels=max_pixels)
    return str(caught.value)


@pytest.mark.parametrize("after_it", [b"", b"trailing"])
def test_a_whole_png_passes_also_with_bytes_after_its_last_chunk(after_it):
    _read(png_file(PIXELS) + after_it)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_are_those_that_opencv_inflates_itself(channels, kind):
    largest = np.iinfo(kind).max
    # more than one stored block of 65535 bytes
    shape = (301, 257, channels)
    image = np.random.default_rng(0).integers(0, largest, shape, kind, endpoint=True)
    data = cv2.imencode(".png", image)[1].tobytes()
    np.testing.assert_array_equal(_read(data).gray, opencv.gray(data))


@pytest.mark.parametrize(("over", "category"), [(b"", None), (b"more", None), (None, "damaged")])
def test_a_png_with_more_pixels_than_its_header_says_is_read_and_one_with_fewer_is_not(
    over, category
):
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    body = zlib.compress(rows[:-100] if over is None else rows + over)
    data = png_header(64, 48) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    if category is None:
        np.testing.assert_array_equal(_read(data).gray, PIXELS)
    else:
        assert _error(data).startswith(category)


def test_a_palette_with_transparency_passes_and_one_transparent_gray_value_does_not():
    palette, transparency = chunk(b"PLTE", bytes(12)), chunk(b"tRNS", b"\0\x80")
    _read(png_file(PIXELS % 4, palette, transparency, color=PALETTE))
    message = "unsupported: one gray value of the PNG is transparent"
    assert _error(png_file(PIXELS, transparency)) == message


def test_a_png_cut_in_half_is_truncated():
    data = png_file(PIXELS)
    message = "truncated: the PNG ends before its last chunk"
    assert _error(data[: len(data) // 2]) == message


def test_a_png_cut_anywhere_is_truncated():
    data = png_file(PIXELS)
    for end in range(len(PNG), len(data)):
        assert _error(data[:end]).startswith("truncated: "), end


def test_a_png_that_lacks_only_its_last_chunk_is_truncated():
    data = png_file(PIXELS).removesuffix(chunk(b"IEND"))
    assert _error(data) == "truncated: the PNG ends before its last chunk"


def test_a_flipped_byte_in_a_png_chunk_is_damage():
    data = bytearray(png_file(PIXELS))
    data[data.index(b"IDAT") + 20] ^= 1
    assert _error(bytes(data)) == "damaged: a IDAT chunk has a wrong checksum"


def test_a_flipped_byte_anywhere_in_a_png_is_noticed():
    whole = png_file(PIXELS[:8, :8])
    for position in range(len(PNG), len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x10
        assert _error(bytes(data)).split(":")[0] in ("damaged", "truncated")


def test_a_png_too_large_by_its_header_is_refused_before_its_pixels():
    data = png_header(30_000, 40_000) + chunk(b"IDAT", b"no pixels") + chunk(b"IEND")
    message = "too large: 30000 x 40000 pixels, 200000000 are allowed"
    assert _error(data, 200_000_000) == message


def test_the_largest_header_a_png_can_have_is_too_large():
    data = png_header(2**31 - 1, 2**31 - 1, 16, RGB) + chunk(b"IEND")
    assert _error(data).startswith("too large: 2147483647 x 2147483647 ")


# damage that is kept


def _kept(data):
    return png.read(data, max_pixels=MANY, keep_damaged=True)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_cut_png_that_is_kept_has_its_upper_part_and_is_black_below(depth):
    pixels = np.random.default_rng(0).integers(1, 256, (40, 50), np.uint8)
    data = png_file(pixels.astype(f"u{depth // 8}"), depth=depth)
    picture = _kept(data[: len(data) // 2])
    assert picture.warning == "truncated: the PNG ends before its last chunk"
    rows = (picture.gray == pixels).all(axis=1)
    assert 15 <= rows.sum() <= 25
    assert rows[: rows.sum()].all()
    assert (picture.gray[rows.sum() + 1 :] == 0).all()


def test_a_png_that_lacks_only_its_last_chunk_is_kept_whole():
    picture = _kept(png_file(PIXELS)[:-12])
    np.testing.assert_array_equal(picture.gray, PIXELS)
    assert picture.warning == "truncated: the PNG ends before its last chunk"


def test_a_wrong_checksum_beside_the_pixels_costs_none_of_them():
    data = bytearray(png_file(PIXELS, chunk(b"tEXt", b"a\0text")))
    data[data.index(b"text")] ^= 1
    picture = _kept(bytes(data))
    np.testing.assert_array_equal(picture.gray, PIXELS)
    assert picture.warning == "damaged: a tEXt chunk has a wrong checksum"


@pytest.mark.parametrize("kind", [b"PLTE", b"IHDR"])
def test_a_wrong_checksum_of_what_pixels_mean_is_an_error_also_if_damage_is_kept(kind):
    data = bytearray(png_file(PIXELS % 4, chunk(b"PLTE", bytes(12)), color=PALETTE))
    data[data.index(kind) + 5] ^= 1
    with pytest.raises(ImageError, match=r"^damaged: "):
        _kept(bytes(data))


def test_a_chunk_that_must_be_understood_and_is_not_is_refused():
    message = "unsupported: a PNG with a CgBI chunk"
    assert _error(png_file(PIXELS, chunk(b"CgBI", b"1234"))) == message


# filters


@pytest.mark.parametrize("piece", [1, 1000, png_filters._PIECE])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 999), (999, 1), (301, 257)])
def test_simple_filters_are_undone_as_opencv_does_it(shape, depth, filters, piece, monkeypatch):
    monkeypatch.setattr(png_filters, "_PIECE", piece)
    header = struct.pack(">IIBBBBB", shape[1], shape[0], depth, image_files.GRAY, 0, 0, 0)
    rng = np.random.default_rng(0)
    rows = [
        bytes([rng.choice(filters)]) + rng.bytes(shape[1] * depth // 8) for _ in range(shape[0])
    ]
    found = png_filters.gray(header, b"".join(rows))
    expected = opencv.gray(png_stored.file(header, [], b"".join(rows)))
    assert found is not None
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("depth", "color", "interlaced", "kind"),
    [
        (8, 0, 0, 3),
        (8, 0, 0, 4),
        (8, 0, 0, 5),
        (8, 0, 1, 1),
        (4, 0, 0, 1),
        (8, 3, 0, 1),
        (8, 2, 0, 1),
    ],
)
def test_other_files_are_left_to_opencv(depth, color, interlaced, kind):
    header = struct.pack(">IIBBBBB", 8, 2, depth, color, 0, 0, interlaced)
    row = bytes([kind]) + bytes(8 * depth * png_stored.SAMPLES[color] // 8)
    assert png_filters.gray(header, b"\0" + row[1:] + row) is None


# bands


@pytest.mark.parametrize("band_bytes", [1, 1000, 10**6])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("color", "depth"),
    [
        *((image_files.GRAY, depth) for depth in (1, 2, 4, 8, 16)),
        *((image_files.PALETTE, depth) for depth in (1, 2, 4, 8)),
        *((color, depth) for color in (2, 4, 6) for depth in (8, 16)),
    ],
)
@pytest.mark.parametrize("transparent", [False, True])
def test_bands_are_what_opencv_makes_of_the_whole(
    color, depth, interlaced, band_bytes, transparent
):
    """The bytes are random, so every filter is used."""
    width, height = 45, 37
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    passes = png._ADAM7 if interlaced else png._ONE
    rng, rows = np.random.default_rng(depth), []
    for left, top, step_x, step_y in passes:
        columns = -(-(width - left) // step_x)
        size = (columns * depth * png_stored.SAMPLES[color] + 7) // 8
        number = -(-(height - top) // step_y)
        rows += [bytes([rng.integers(5)]) + rng.bytes(size) for _ in range(number)]
    before = []
    if color == image_files.PALETTE:
        before.append(image_files.chunk(b"PLTE", rng.bytes(3 * 2**depth)))
    if transparent and color in (image_files.PALETTE, image_files.RGB):
        size = 2**depth if color == image_files.PALETTE else 6
        before.append(image_files.chunk(b"tRNS", rng.bytes(size) if size != 6 else b"\0\x07" * 3))
    pixels = b"".join(rows)
    whole = opencv.gray(png_stored.file(header, before, pixels))
    parts = [pixels[start : start + 100] for start in range(0, len(pixels), 100)]
    found = png_bands.read(
        header, list(map(memoryview, before)), parts, passes, band_bytes=band_bytes
    )
    np.testing.assert_array_equal(found, whole)
