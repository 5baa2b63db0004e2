"""TIFF: every kind that is read shows what was drawn, every other one is refused."""

import io
import itertools
import struct
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cnnjobs.config import constants
from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing
from cnnjobs.imaging.formats import tiff
from tests.support import image_files
from tests.support.corpus import CHEST, HEIGHT, WIDTH

MANY = 10**8
BT_601 = np.array([0.299, 0.587, 0.114])
STEPS = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 251
COLOR = np.stack([CHEST, 255 - CHEST, STEPS], axis=2)
OPACITY = STEPS.T.reshape(HEIGHT, WIDTH) / 250

DEPTHS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
LAYOUTS = {"strip": {}, "strips": {"rows": 7}, "tiles": {"tile": (16, 32)}}
COMPRESSIONS = tuple(image_files.TIFF_ENCODERS)


def _read(data):
    return tiff.read(data, max_pixels=MANY)


def _error(data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        tiff.read(data, max_pixels=max_pixels)
    return str(caught.value)


def _quantized(levels, bits):
    """Turn levels from 0 to 255 into those of a depth."""
    largest = (1 << bits) - 1
    return np.rint(levels * (largest / 255)).astype(np.uint8 if bits <= 8 else np.uint16)


# depths and layouts


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", DEPTHS)
def test_gray_of_every_depth_is_read_to_the_bit(bits, photometric):
    samples, largest = _quantized(CHEST, bits), (1 << bits) - 1
    shown = samples if photometric else largest - samples
    wanted = shown if bits >= 8 else np.rint(shown * (255 / largest))
    kinds = itertools.product("<>", LAYOUTS.values(), COMPRESSIONS)
    for order, layout, compression in kinds:
        options = {"order": order, "compression": compression, **layout}
        picture = _read(image_files.tiff(samples, bits=bits, photometric=photometric, **options))
        np.testing.assert_array_equal(picture.gray, wanted, str(options))
        assert picture.bits == (bits if 8 < bits < 16 else None)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
def test_color_of_every_depth_becomes_its_luma(bits, planar):
    samples, largest = _quantized(COLOR, bits), (1 << bits) - 1
    wanted = samples @ BT_601 * (255 / largest)
    for order, layout, compression in itertools.product("<>", LAYOUTS.values(), COMPRESSIONS):
        options = {"order": order, "compression": compression, "planar": planar, **layout}
        picture = _read(image_files.tiff(samples, bits=bits, photometric=2, **options))
        shown = picture.gray * (255 / (255 if bits < 8 else largest))
        assert np.abs(shown - wanted).max() <= 0.6, options


@pytest.mark.parametrize("compression", [5, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_differences_of_neighbors_are_added_up(dtype, compression):
    samples = COLOR.astype(dtype) * (257 if dtype == np.uint16 else 1)
    for order, layout, planar in itertools.product("<>", LAYOUTS.values(), [False, True]):
        options = {"order": order, "planar": planar, "photometric": 2, **layout}
        plain = image_files.tiff(samples, **options)
        stored = image_files.tiff(samples, predictor=2, compression=compression, **options)
        np.testing.assert_array_equal(_read(stored).gray, _read(plain).gray)


def test_a_stated_depth_counts_though_the_picture_is_dark():
    samples = CHEST.astype(np.uint16)
    settings = preprocessing.Preprocessing(height=HEIGHT, width=WIDTH)
    shown = preprocessing.decode(image_files.tiff(samples, bits=12), settings).pixels[:, :, 0]
    np.testing.assert_array_equal(shown, np.rint(samples * (255 / 4095)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_bits_in_reverse_order_are_put_right(compression):
    data = image_files.tiff(CHEST, fill_order=2, rows=9, compression=compression)
    np.testing.assert_array_equal(_read(data).gray, CHEST)


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_fax_compressions_are_read(compression):
    file = io.BytesIO()
    Image.fromarray(CHEST > 100).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(_read(file.getvalue()).gray, (CHEST > 100) * 255)


@pytest.mark.parametrize("big", [False, True])
def test_a_big_tiff_of_many_strips_is_read(big):
    data = image_files.tiff(CHEST, rows=1, compression=5, big=big)
    np.testing.assert_array_equal(_read(data).gray, CHEST)


# colors


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    ("channels", "extra", "times"),
    [(1, 0, 0), (1, 1, 1), (1, 2, 1), (3, 0, 0), (3, 1, 1), (3, 2, 1), (3, None, 1)],
)
def test_opacity_counts_once_whether_colors_are_multiplied_by_it_or_not(
    channels, extra, times, bits
):
    largest = (1 << bits) - 1
    shares = OPACITY[:, :, np.newaxis]
    stored = COLOR[:, :, :channels] * (shares if extra == 1 else 1)
    samples = _quantized(np.concatenate([stored, shares * 255], axis=2), bits)
    options = {"photometric": 1 if channels == 1 else 2, "extra_samples": extra, "bits": bits}
    wanted = (COLOR @ BT_601 if channels == 3 else COLOR[:, :, 0]) * OPACITY**times
    for planar in (False, True):
        shown = _read(image_files.tiff(samples, planar=planar, **options)).gray * (255 / largest)
        assert np.abs(shown - wanted).max() <= 1.5


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_inks_take_light_away(bits):
    inks = np.dstack([255 - COLOR, 255 * (1 - OPACITY)])
    data = image_files.tiff(_quantized(inks, bits), bits=bits, photometric=5)
    shown = _read(data).gray * (255 / ((1 << bits) - 1))
    assert np.abs(shown - COLOR @ BT_601 * OPACITY).max() <= 1.5


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_becomes_the_luma_of_its_colors(bits):
    colors = np.random.default_rng(0).integers(0, 256, (1 << bits, 3))
    samples = (STEPS % (1 << bits)).astype(np.uint8)
    for scale, layout in itertools.product([257, 1], LAYOUTS.values()):
        palette = {320: (3, (colors.T * scale).ravel().tolist())}
        options = {"bits": bits, "photometric": 3, "compression": 5, **layout}
        gray = _read(image_files.tiff(samples, tags=palette, **options)).gray
        assert np.abs(gray - (colors @ BT_601)[samples]).max() <= 0.51


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_subsampled_colors_have_the_luma_that_is_stored(compression, monkeypatch):
    blocks = CHEST.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).swapaxes(1, 2).reshape(-1, 4)
    raw = np.pad(blocks, ((0, 0), (0, 2)), constant_values=128).tobytes()
    stored = image_files.TIFF_ENCODERS[compression](raw)
    monkeypatch.setitem(image_files.TIFF_ENCODERS, compression, lambda _: stored)
    options = {"photometric": 6, "compression": compression, "tags": {530: (3, [2, 2])}}
    gray = _read(image_files.tiff(np.dstack([CHEST] * 3), **options)).gray
    np.testing.assert_array_equal(gray, CHEST)


# what is refused

SEVERAL = np.dstack([CHEST] * 3)

#: Black is 16/1 (a fraction), as in video.
VIDEO_RANGE = {532: (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]), 530: (3, [1, 1])}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (image_files.tiff(CHEST, tags={259: (3, [6])}), "compression 6, "),
        (image_files.tiff(SEVERAL, photometric=8), "photometric interpretation 8, "),
        (image_files.tiff(CHEST, compression=8, tags={317: (3, [3])}), "predictor 3 and "),
        (image_files.tiff(CHEST, compression=8, bits=4, tags={317: (3, [2])}), "of 4 bits"),
        (image_files.tiff(SEVERAL), "and 3 samples of 8 bits"),
        (image_files.tiff(SEVERAL, photometric=6, planar=True), "and 3 samples of 8 bits"),
        (image_files.tiff(SEVERAL, photometric=6, tags=VIDEO_RANGE), "and 3 samples of 8 bits"),
        (image_files.tiff(SEVERAL, photometric=2, tags={258: (3, [8, 4, 8])}), "3 samples"),
        (image_files.tiff(CHEST, tags={277: (3, [65535])}), "and 65535 samples of 8 bits"),
        (image_files.tiff(SEVERAL[:, :, :2], photometric=0, extra_samples=1), "interpretation 0"),
    ],
)
def test_other_kinds_are_unsupported(data, what):
    assert what in _error(data)
    assert _error(data).startswith("unsupported: a TIFF of compression ")


@pytest.mark.parametrize("tag", [256, 257, 262])
def test_a_tiff_that_does_not_say_what_it_shows_is_damaged(tag):
    data = image_files.tiff(CHEST, tags={tag: None})
    message = "damaged: the TIFF states no size or no photometric interpretation"
    assert _error(data) == message


@pytest.mark.parametrize("size", [None, 0, 100])
def test_the_size_of_a_single_strip_that_is_not_compressed_may_be_wrong(size):
    data = image_files.tiff(CHEST, tags={279: size and (4, [size])})
    np.testing.assert_array_equal(_read(data).gray, CHEST)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_strips_that_are_too_short_are_damage(compression):
    data = image_files.tiff(CHEST, rows=24, compression=compression, tags={279: (4, [9] * 3)})
    assert _error(data).startswith("damaged: a strip of the TIFF")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_strips_that_are_missing_are_damage(compression):
    data = image_files.tiff(CHEST, rows=24, compression=compression, tags={278: (4, [12])})
    assert _error(data) == "damaged: the TIFF has 3 of 6 strips or tiles"


# what would take long or much


def test_a_directory_of_many_tags_is_refused():
    tags = {number: (4, [1]) for number in range(1000, 21000)}
    message = "unsupported: a TIFF of 20014 tags, 1000 are allowed"
    assert _error(image_files.tiff(CHEST, tags=tags)) == message


@pytest.mark.parametrize("compression", [1, 5, 32773])
def test_many_strips_of_the_same_bytes_are_refused(compression):
    row = np.zeros((1, 1000), np.uint8)
    length = len(image_files.TIFF_ENCODERS[compression](row.tobytes()))
    tags = {257: (4, [20_000]), 278: (4, [1])}
    tags |= {273: (4, [16] * 20_000), 279: (4, [length] * 20_000)}
    data = image_files.tiff(row, compression=compression, tags=tags)
    assert _error(data) == "unsupported: a TIFF whose strips or tiles share their bytes"


def test_tiles_much_larger_than_their_image_are_refused():
    tags = {322: (4, [1 << 20]), 323: (4, [1 << 20])}
    message = "too large: 1099511627776 bytes of samples, 800000000 are allowed"
    assert _error(image_files.tiff(CHEST, tile=(16, 16), tags=tags)) == message


def test_more_tiles_than_are_stated_are_not_counted_out():
    tags = {256: (4, [10_000]), 257: (4, [10_000])}
    data = image_files.tiff(CHEST, tile=(1, 1), tags=tags)
    assert _error(data) == "damaged: the TIFF has 6912 of 100000000 strips or tiles"


@pytest.mark.parametrize("number", [2**31, 2**32, 2**63, 2**64 - 1])
def test_offsets_beyond_the_file_are_truncation(number):
    whole = image_files.tiff(CHEST, big=True)
    moved = whole[:8] + struct.pack("<Q", number) + whole[16:]
    assert _error(moved) == "truncated: the TIFF ends before its directory"
    strip = image_files.tiff(CHEST, big=True, tags={273: (16, [number])})
    assert _error(strip) == "truncated: the TIFF ends before its pixels do"


@pytest.mark.parametrize("seed", range(4))
def test_any_directory_gives_pixels_or_an_error(seed):
    rng = np.random.default_rng(seed)
    ends = Counter()
    files = [
        image_files.tiff(samples, compression=compression, big=big, **layout)
        for samples in (CHEST, CHEST * np.uint16(257))
        for compression, layout in itertools.product(COMPRESSIONS, LAYOUTS.values())
        for big in (False, True)
    ]
    for data in files * 8:
        start = struct.unpack_from("<Q", data, 8)[0] or struct.unpack_from("<I", data, 4)[0]
        changed = bytearray(data)
        for place in rng.integers(start, len(data), rng.integers(1, 5)):
            changed[place] = rng.choice([0, 1, 2, 255, rng.integers(256)])
        try:
            preprocessing.read(bytes(changed), max_pixels=10**6)
            ends["read"] += 1
        except ImageError as error:
            ends[error.category] += 1
    assert set(ends) <= {*constants.ERROR_CATEGORIES, "read"}
    assert min(ends[end] for end in ("read", "damaged", "truncated", "unsupported")) > 5
