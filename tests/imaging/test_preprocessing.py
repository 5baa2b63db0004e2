import struct

import cv2
import numpy as np
import pytest

from benchmarks import decode
from cnnjobs.config import constants
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ConfigError, ImageError
from cnnjobs.imaging import preprocessing
from tests.support.image_files import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    chunk,
    exif,
    png,
    png_header,
    tiff,
)

MANY = 200_000_000
LOSSLESS_WEBP = [cv2.IMWRITE_WEBP_QUALITY, 101]
BT_601 = np.array([0.299, 0.587, 0.114])


def _random(*shape, largest=255, seed=0):
    dtype = np.uint8 if largest < 256 else np.uint16
    return np.random.default_rng(seed).integers(0, largest, shape, dtype, endpoint=True)


GRAY_PIXELS = _random(40, 50)
COLOR = _random(40, 50, 3)


def _file(suffix, pixels, *options):
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def _gray(data):
    return preprocessing.read_gray(data, max_pixels=MANY)


def _gray_unless_unsupported(data):
    try:
        return _gray(data)
    except ImageError as error:
        if error.category == "unsupported":
            return None
        raise


def _error(data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        preprocessing.read_gray(data, max_pixels=max_pixels)
    assert caught.value.category in constants.ERROR_CATEGORIES
    return str(caught.value)


def _decoded(data, height, width):
    return preprocessing.decode(data, preprocessing.Preprocessing(height=height, width=width))


def _luma(color):
    """Weigh R, G and B of (height, width, 3 or more) by ITU-R BT.601."""
    return color[..., :3] @ BT_601


def _off_by(gray, wanted):
    assert gray.shape == wanted.shape
    return np.abs(gray.astype(float) - wanted).max()


# every kind of file


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_8_bit_gray_stays_as_it_is(suffix):
    gray = _gray(_file(suffix, GRAY_PIXELS))
    assert gray.dtype == np.uint8
    np.testing.assert_array_equal(gray, GRAY_PIXELS)


def test_lossless_webp_of_equal_channels_stays_as_it_is():
    np.testing.assert_array_equal(_gray(_file(".webp", GRAY_PIXELS, *LOSSLESS_WEBP)), GRAY_PIXELS)


def test_a_gray_jpeg_is_what_opencv_makes_of_it():
    data = _file(".jpg", GRAY_PIXELS, cv2.IMWRITE_JPEG_QUALITY, 90)
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(_gray(data), wanted)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_color_becomes_bt_601_luma(suffix):
    data = _file(suffix, COLOR, *(LOSSLESS_WEBP if suffix == ".webp" else ()))
    assert _off_by(_gray(data), _luma(COLOR[..., ::-1])) <= 1


def test_a_color_jpeg_becomes_its_luma():
    smooth = cv2.resize(COLOR[:4, :5], (100, 80), interpolation=cv2.INTER_CUBIC)
    gray = _gray(_file(".jpg", smooth, cv2.IMWRITE_JPEG_QUALITY, 100))
    assert _off_by(gray, _luma(smooth[..., ::-1])) <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_color_becomes_16_bit_luma(suffix):
    color = _random(20, 30, 3, largest=65535)
    gray = _gray(_file(suffix, color))
    assert gray.dtype == np.uint16
    assert _off_by(gray, _luma(color[..., ::-1])) <= 4


@pytest.mark.parametrize(
    "extra",
    [chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sRGB", b"\0")],
    ids=["gAMA", "sRGB"],
)
def test_a_png_that_states_its_gamma_has_the_same_luma(extra):
    samples = _random(20, 30, 3)
    plain, stated = png(samples, color=RGB), png(samples, extra, color=RGB)
    np.testing.assert_array_equal(_gray(stated), _gray(plain))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_fewer_than_8_bits_spans_the_whole_range(depth):
    samples = _random(6, 16, largest=(1 << depth) - 1)
    wanted = samples * (255 // ((1 << depth) - 1))
    np.testing.assert_array_equal(_gray(png(samples, depth=depth)), wanted)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_becomes_the_luma_of_its_colors(depth):
    colors = _random(min(1 << depth, 200), 3)
    samples = _random(6, 16, largest=len(colors) - 1)
    data = png(samples, chunk(b"PLTE", colors.tobytes()), depth=depth, color=PALETTE)
    assert _off_by(_gray(data), _luma(colors)[samples]) <= 1


def test_transparent_colors_of_a_palette_lie_on_black():
    colors, opacity = _random(4, 3), np.array([0, 128, 255, 255], np.uint8)
    samples = _random(6, 16, largest=3)
    chunks = chunk(b"PLTE", colors.tobytes()), chunk(b"tRNS", opacity[:2].tobytes())
    wanted = (_luma(colors) * (opacity / 255))[samples]
    assert _off_by(_gray(png(samples, *chunks, color=PALETTE)), wanted) <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_gray_is_blended_with_black(depth):
    largest = (1 << depth) - 1
    samples = _random(6, 16, 2, largest=largest)
    gray = _gray(png(samples, depth=depth, color=GRAY_ALPHA))
    assert gray.dtype == f"uint{depth}"
    assert _off_by(gray, samples[..., 0] * (samples[..., 1] / largest)) <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color_is_blended_with_black(depth):
    largest = (1 << depth) - 1
    samples = _random(6, 16, 4, largest=largest)
    gray = _gray(png(samples, depth=depth, color=RGBA))
    assert gray.dtype == f"uint{depth}"
    assert _off_by(gray, _luma(samples) * (samples[..., 3] / largest)) <= 2


def test_a_transparent_pixel_of_a_webp_is_black_whatever_its_color():
    white = np.full((8, 8, 4), 255, np.uint8)
    white[:4, :, 3] = 0
    gray = _gray(_file(".webp", white, *LOSSLESS_WEBP))
    np.testing.assert_array_equal(gray, white[..., 3])


@pytest.mark.parametrize(("depth", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_the_one_transparent_gray_value_of_a_png_is_black_or_refused(depth, dtype):
    samples = np.array([[10, 200, 10, 30]], dtype)
    data = png(samples, chunk(b"tRNS", struct.pack(">H", 200)), depth=depth)
    gray = _gray_unless_unsupported(data)
    assert gray is None or gray.tolist() == [[10, 0, 10, 30]]


def test_the_one_transparent_color_of_a_png_is_black():
    samples = np.array([[[9, 8, 7], [200, 100, 50]]])
    data = png(samples, chunk(b"tRNS", struct.pack(">HHH", 200, 100, 50)), color=RGB)
    np.testing.assert_array_equal(_gray(data), [[8, 0]])


def test_16_bit_gray_keeps_its_depth():
    pixels = _random(20, 30, largest=4095)
    for data in (_file(".png", pixels), _file(".tif", pixels)):
        gray = _gray(data)
        assert gray.dtype == np.uint16
        np.testing.assert_array_equal(gray, pixels)


def test_a_tiff_with_white_as_zero_is_inverted():
    np.testing.assert_array_equal(_gray(tiff(GRAY_PIXELS, photometric=0)), 255 - GRAY_PIXELS)


@pytest.mark.parametrize("largest", [255, 65535])
def test_transparent_color_of_a_tiff_is_blended_with_black_once(largest):
    samples = _random(6, 16, 4, largest=largest)
    gray = _gray(tiff(samples, photometric=2, extra_samples=2))
    assert _off_by(gray, _luma(samples) * (samples[..., 3] / largest)) <= 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "uint32"])
def test_tiff_pixels_without_a_gray_range_are_unsupported(dtype):
    message = f"unsupported: {dtype} pixels have no defined gray range"
    assert _error(tiff(GRAY_PIXELS.astype(dtype))) == message


# upright


def _upright(stored, orientation):
    """Turn what is stored under an EXIF orientation as it should be seen."""
    turns = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.T,
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).T,
        8: np.rot90(stored),
    }
    return turns[orientation]


def _with_exif(suffix, pixels, block):
    options = LOSSLESS_WEBP if suffix == ".webp" else []
    blocks = [np.frombuffer(block, np.uint8)]
    kinds = [cv2.IMAGE_METADATA_EXIF]
    return cv2.imencodeWithMetadata(suffix, pixels, kinds, blocks, options)[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone_as_opencv_does(orientation, suffix):
    plain = _gray(_with_exif(suffix, GRAY_PIXELS, exif(1)))
    for order in "<>":
        data = _with_exif(suffix, GRAY_PIXELS, exif(orientation, order))
        gray = _gray(data)
        np.testing.assert_array_equal(gray, _upright(plain, orientation))
        opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(gray, opencv)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone_where_there_is_alpha(orientation, suffix):
    pixels = np.dstack([GRAY_PIXELS] * 3 + [np.full_like(GRAY_PIXELS, 255)])
    gray = _gray(_with_exif(suffix, pixels, exif(orientation)))
    np.testing.assert_array_equal(gray, _upright(GRAY_PIXELS, orientation))


@pytest.mark.parametrize("largest", [255, 65535])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_tiff_orientation_is_undone(orientation, largest):
    pixels = _random(6, 9, largest=largest)
    gray = _gray(tiff(pixels, orientation=orientation))
    np.testing.assert_array_equal(gray, _upright(pixels, orientation))


def test_the_size_is_that_of_the_upright_image():
    decoded = _decoded(_with_exif(".jpg", GRAY_PIXELS, exif(6)), 10, 20)
    assert decoded.pixels.shape == (10, 20, 1)
    assert (decoded.width, decoded.height) == (40, 50)


# depth


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_samples_in_a_16_bit_file_are_scaled_by_their_significant_bits(bits):
    largest = (1 << bits) - 1
    pixels = _random(32, 32, largest=largest)
    pixels[0, :2] = 0, largest
    small = _decoded(_file(".png", pixels), 32, 32).pixels[:, :, 0]
    assert small[0].tolist()[:2] == [0, 255]
    rounded = (2 * 255 * pixels.astype(np.int64) + largest) // (2 * largest)
    np.testing.assert_array_equal(small, rounded)


def test_a_12_bit_image_in_a_16_bit_file_maps_4095_to_255():
    pixels = np.array([[0, 8, 9, 2048, 4095]], np.uint16)
    small = _decoded(_file(".png", pixels), 1, 5).pixels
    assert small.ravel().tolist() == [0, 0, 1, 128, 255]


def test_the_depth_is_found_before_shrinking():
    pixels = np.full((64, 64), 1000, np.uint16)
    pixels[:8, :8] = 1001
    pixels[40] = np.arange(1024, 4095, 48)
    small = _decoded(_file(".png", pixels), 8, 8).pixels
    assert small[0, 0, 0] == round(1001 * 255 / 4095)


# size


def test_a_fine_checkerboard_shrinks_to_flat_gray():
    board = np.indices((200, 240)).sum(0).astype(np.uint8) % 2 * 255
    for height, width in ((100, 120), (50, 60), (25, 40), (64, 64), (32, 50)):
        small = _decoded(_file(".png", board), height, width).pixels
        # sides that do not divide the board's leave parts of squares: up to half a square's share
        allowed = 1 if (200 % height, 240 % width) == (0, 0) else 32
        assert np.abs(small.astype(int) - 127).max() <= allowed


def test_shrinking_averages_over_areas():
    pixels = _random(40, 60)
    wanted = pixels.reshape(10, 4, 15, 4).mean((1, 3))
    small = _decoded(_file(".png", pixels), 10, 15).pixels[:, :, 0]
    assert _off_by(small, wanted) <= 0.51


@pytest.mark.parametrize(("sides", "wanted"), [((1027, 973), (256, 256)), ((300, 2999), (31, 224))])
def test_the_means_of_areas_are_those_of_opencv_up_to_a_rounding_in_a_thousand(sides, wanted):
    fine = np.random.default_rng(0).integers(0, 256, sides, np.uint8)
    for image in (fine, cv2.GaussianBlur(fine, (9, 9), 3), np.full(sides, 255, np.uint8)):
        theirs = cv2.resize(image, wanted[::-1], interpolation=cv2.INTER_AREA).astype(int)
        off = np.abs(preprocessing.area_means(image, height=wanted[0], width=wanted[1]) - theirs)
        assert off.max() <= 1
        assert np.mean(off > 0) < 1e-3


def test_a_picture_in_color_shrinks_as_its_channels_do():
    picture = np.random.default_rng(0).integers(0, 256, (301, 299, 3), np.uint8)
    small = preprocessing.resize(picture, height=31, width=29)
    for channel in range(3):
        gray = preprocessing.resize(
            np.ascontiguousarray(picture[:, :, channel]), height=31, width=29
        )
        assert _off_by(small[:, :, channel], gray) <= 1


def test_the_means_of_areas_are_exact_where_their_edges_cut_pixels():
    image = np.random.default_rng(0).integers(0, 256, (35, 56), np.uint8)
    # cut into 10 x 10 parts each, pixels lie in no two areas
    parts = np.kron(image, np.ones((10, 10))).reshape(10, 35, 16, 35)
    means = preprocessing.area_means(image, height=10, width=16)
    assert _off_by(means, parts.mean((1, 3))) <= 0.5


def test_a_thin_bright_line_is_not_lost_when_shrinking():
    pixels = np.zeros((128, 128), np.uint8)
    for column in range(8):
        pixels[:] = 0
        pixels[:, column] = 240
        small = _decoded(_file(".png", pixels), 16, 16).pixels
        assert (small[:, 0] == 30).all(), column


def test_enlarging_is_bilinear():
    row = np.array([[0, 100]], np.uint8)
    enlarged = _decoded(_file(".png", row), 1, 4).pixels
    assert enlarged.ravel().tolist() == [0, 25, 75, 100]


def test_one_side_shrinks_while_the_other_grows():
    pixels = np.tile(np.array([[0, 100]], np.uint8), (8, 1))
    pixels[::2] += 100
    both = _decoded(_file(".png", pixels), 2, 4).pixels[:, :, 0]
    np.testing.assert_array_equal(both, [[50, 75, 125, 150]] * 2)


def test_the_aspect_ratio_is_not_kept():
    halves = np.zeros((20, 80), np.uint8)
    halves[:, 40:] = 200
    decoded = _decoded(_file(".png", halves), 30, 30)
    assert decoded.pixels.shape == (30, 30, 1)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.pixels[:, :14] == 0).all()
    assert (decoded.pixels[:, 16:] == 200).all()
    assert (decoded.width, decoded.height) == (80, 20)


def test_an_image_of_the_requested_size_is_unchanged():
    decoded = _decoded(_file(".png", GRAY_PIXELS), 40, 50)
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], GRAY_PIXELS)


def test_an_image_of_one_pixel_fills_the_whole():
    assert (_decoded(_file(".png", np.full((1, 1), 77, np.uint8)), 5, 6).pixels == 77).all()


def test_the_same_bytes_give_the_same_pixels():
    chest = phantom(np.random.default_rng(0), height=200, width=180, opacity=True)
    for suffix in (".png", ".jpg", ".webp"):
        data = _file(suffix, chest)
        first, second = (_decoded(data, 64, 64) for _ in range(2))
        np.testing.assert_array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("name", ["height", "width", "max_pixels"])
def test_sides_below_one_are_refused(name):
    settings = {"height": 8, "width": 8, "max_pixels": 100, name: 0}
    with pytest.raises(ConfigError) as caught:
        preprocessing.Preprocessing(**settings)
    assert str(caught.value) == f"{name} must be at least 1, got 0."


# scaled JPEGs


SCALED = preprocessing.Preprocessing(height=256, width=256, scaled_jpeg=True)


def test_a_scaled_jpeg_has_almost_the_pixels_of_a_whole_one():
    for gray in decode.drawings(4, height=1024, width=2048):
        mean, largest = decode.difference(gray)
        assert 0 < mean < 0.25
        assert largest <= 2


def test_a_scaled_jpeg_is_as_near_as_documented_where_areas_cut_through_pixels():
    for gray in decode.drawings(4, height=1100, width=1300):
        mean, largest = decode.difference(gray)
        assert 0 < mean < 0.6
        assert largest <= 30


@pytest.mark.parametrize(
    ("sides", "scale"),
    [((510, 800), 1), ((512, 512), 2), ((1020, 4000), 2), ((1024, 1024), 4), ((2048, 2050), 8)],
)
def test_the_smallest_scale_leaves_the_sides_that_are_asked_for(sides, scale):
    picture = preprocessing.read(
        _file(".jpg", np.zeros(sides, np.uint8)), max_pixels=MANY, at_least=(256, 256)
    )
    assert picture.gray.shape == tuple(-(-side // scale) for side in sides)
    assert (picture.height, picture.width) == sides


def test_a_scaled_jpeg_has_the_size_of_its_file():
    data = _with_exif(".jpg", np.zeros((2100, 1500), np.uint8), exif(6))
    decoded = preprocessing.decode(data, SCALED)
    assert (decoded.width, decoded.height) == (2100, 1500)


def test_the_requested_sides_are_those_of_the_upright_image():
    data = _with_exif(".jpg", np.zeros((1024, 300), np.uint8), exif(6))
    assert preprocessing.read(data, max_pixels=MANY, at_least=(300, 512)).gray.shape == (300, 1024)
    assert preprocessing.read(data, max_pixels=MANY, at_least=(150, 512)).gray.shape == (150, 512)


def test_scaling_is_off_where_a_bundle_does_not_say():
    assert not preprocessing.Preprocessing(**{"height": 256, "width": 256}).scaled_jpeg


# what is no image


def test_no_bytes_are_empty():
    assert _error(b"") == "empty: the file has no bytes"


def test_text_is_not_an_image():
    assert _error(b"This is text, not an image.\n").startswith("not an image: ")


def test_random_bytes_are_not_an_image():
    for seed in range(20):
        data = np.random.default_rng(seed).bytes(500)
        assert _error(data).startswith("not an image: ")


def test_random_bytes_after_a_known_beginning_are_an_error():
    noise = np.random.default_rng(0).bytes(500)
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"II*\0", b"RIFF\0\1\0\0WEBP"):
        _error(start + noise)


@pytest.mark.parametrize("samples", [GRAY_PIXELS, COLOR, np.dstack([COLOR, GRAY_PIXELS])])
def test_a_png_cut_anywhere_is_an_error(samples):
    data = _file(".png", samples[:12, :12])
    for end in range(len(data)):
        category = _error(data[:end]).split(":")[0]
        assert category == ("truncated" if end >= 8 else "not an image" if end else "empty")


def test_a_png_cut_in_half_is_truncated():
    data = _file(".png", GRAY_PIXELS)
    assert _error(data[: len(data) // 2]) == "truncated: the PNG ends before its last chunk"


def test_a_png_with_a_flipped_byte_is_an_error():
    whole = _file(".png", COLOR[:8, :8])
    for position in range(8, len(whole)):
        data = bytearray(whole)
        data[position] ^= 0xFF
        assert _error(bytes(data)).split(":")[0] in ("damaged", "truncated")


@pytest.mark.parametrize("color", [GRAY, GRAY_ALPHA])
def test_a_png_with_half_its_rows_is_damaged(color):
    whole = png(np.zeros((8, 8, 2) if color else (8, 8), int), color=color)
    header = png_header(8, 16, color=color)
    assert _error(header + whole[len(header) :]).startswith("damaged: ")


def test_a_png_without_pixels_is_damaged():
    assert _error(png_header(8, 8) + chunk(b"IEND")).startswith("damaged: ")


@pytest.mark.parametrize("pixels", [GRAY_PIXELS, COLOR])
@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)]
)
def test_a_jpeg_cut_anywhere_is_an_error(pixels, options):
    data = _file(".jpg", pixels, *options)
    for end in range(len(data)):
        category = _error(data[:end]).split(":")[0]
        assert category == ("truncated" if end >= 3 else "not an image" if end else "empty")


def test_a_jpeg_with_a_whole_thumbnail_is_cut_all_the_same():
    thumbnail = _file(".jpg", GRAY_PIXELS[:16, :16])
    data = _with_exif(".jpg", GRAY_PIXELS, exif(1, thumbnail=thumbnail))
    assert _gray(data).shape == GRAY_PIXELS.shape
    for end in range(data.index(b"\xff\xd9"), len(data)):
        assert _error(data[:end]).startswith("truncated: ")


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_a_cut_bmp_or_webp_is_an_error_at_any_length(suffix):
    data = _file(suffix, GRAY_PIXELS[:12, :12])
    for end in range(len(data)):
        _error(data[:end])


def test_a_cut_tiff_is_an_error_or_lacks_no_pixel():
    pixels = GRAY_PIXELS[:12, :12]
    data = _file(".tif", pixels)
    for end in range(len(data)):
        try:
            gray = _gray(data[:end])
        except ImageError:
            continue
        np.testing.assert_array_equal(gray, pixels)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp"])
def test_a_cut_file_of_a_known_format_is_not_called_no_image(suffix):
    data = _file(suffix, GRAY_PIXELS)
    category = _error(data[: len(data) // 2]).split(":")[0]
    assert category in ("truncated", "damaged")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_more_pixels_than_allowed_are_too_large(suffix):
    data = _file(suffix, COLOR)
    assert _error(data, 1999) == "too large: 50 x 40 pixels, 1999 are allowed"
    assert preprocessing.read_gray(data, max_pixels=2000).shape == (40, 50)


@pytest.mark.parametrize("color", [GRAY, RGB, GRAY_ALPHA, RGBA])
def test_a_png_too_large_by_its_header_is_refused_before_decoding(color):
    # decoding would find no pixels and call it damaged
    data = png_header(100_000, 50_000, color=color) + chunk(b"IEND")
    assert _error(data) == "too large: 100000 x 50000 pixels, 200000000 are allowed"


def test_a_jpeg_too_large_by_its_header_is_refused_before_decoding():
    data = bytearray(_file(".jpg", COLOR))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 64_000)
    assert _error(bytes(data)) == "too large: 64000 x 65000 pixels, 200000000 are allowed"


@pytest.mark.parametrize("kind", ["bmp", "tiff", "webp"])
def test_other_files_too_large_by_their_header_are_refused_before_decoding(kind):
    width, height = 16_000, 15_000
    if kind == "bmp":
        data = bytearray(_file(".bmp", COLOR))
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "tiff":
        data = tiff(GRAY_PIXELS, size=(width, height))
    else:
        data = bytearray(_file(".webp", COLOR, *LOSSLESS_WEBP))
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    assert _error(bytes(data)) == "too large: 16000 x 15000 pixels, 200000000 are allowed"


@pytest.mark.parametrize(
    ("shape", "top", "left"), [((40, 61), 0, 10), ((61, 40), 10, 0), ((40, 40), 0, 0)]
)
def test_square_keeps_the_middle_of_the_longer_side(shape, top, left):
    image = _random(*shape)
    data = cv2.imencode(".png", image)[1].tobytes()
    settings = preprocessing.Preprocessing(height=40, width=40, square=True)

    decoded = preprocessing.decode(data, settings)

    np.testing.assert_array_equal(decoded.pixels[..., 0], image[top : top + 40, left : left + 40])
    assert (decoded.height, decoded.width) == shape
    assert decoded.steps[-1] == "cut to the central 40 x 40 pixels"


@pytest.mark.parametrize(
    ("settings", "shape", "aspect"),
    [({}, (40, 61), 40 / 61), ({"crop": 0.1}, (32, 49), 40 / 61), ({"square": True}, (40, 40), 1)],
)
def test_what_people_are_shown_is_the_part_that_the_model_sees(settings, shape, aspect):
    how = preprocessing.Preprocessing(height=8, width=8, **settings)
    assert preprocessing.visible(_random(40, 61), how).shape == shape
    assert how.aspect(40, 61) == aspect
