"""The depth of 16-bit samples: stated, or guessed without being misled by a few of them."""

import numpy as np
import pytest

from cnnjobs.imaging import preprocessing
from tests.support.corpus import CHEST, HEIGHT, WIDTH
from tests.support.image_files import chunk, png, tiff

SETTINGS = preprocessing.Preprocessing(height=HEIGHT, width=WIDTH)
DEPTHS = (8, 10, 12, 14, 16)


def _decoded(data):
    return preprocessing.decode(data, SETTINGS)


def _shown(data):
    return _decoded(data).pixels[:, :, 0].astype(int)


def _of_depth(bits):
    return np.rint(CHEST * (((1 << bits) - 1) / 255)).astype(np.uint16)


def _files(samples):
    return png(samples, depth=16), tiff(samples)


@pytest.mark.parametrize("largest", [0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535])
def test_the_depth_is_the_smallest_that_holds_the_samples(largest):
    samples = np.zeros((HEIGHT, WIDTH), np.uint16)
    samples[:36] = largest
    bits = next(bits for bits in DEPTHS if largest < 1 << bits)
    for data in _files(samples):
        decoded = _decoded(data)
        assert decoded.pixels[0, 0, 0] == np.rint(largest * (255 / ((1 << bits) - 1)))
        text = f"its samples are taken for {bits} bits, though they are stored in 16"
        assert decoded.warning == (None if bits == 16 else text)


@pytest.mark.parametrize("bits", DEPTHS[:-1])
@pytest.mark.parametrize("number", [1, 6])
def test_a_hot_pixel_does_not_decide(bits, number):
    samples = _of_depth(bits)
    samples[10, 20 : 20 + number] = 65535
    for data in _files(samples):
        decoded = _decoded(data)
        assert abs(decoded.pixels.mean() - CHEST.mean()) < 0.5
        assert (decoded.pixels[10, 20 : 20 + number] == 255).all()
        most = f"{number} of {HEIGHT * WIDTH} are above {(1 << bits) - 1} and become white"
        assert decoded.warning.endswith(f"{bits} bits, though they are stored in 16; {most}")


@pytest.mark.parametrize("value", [65535, 40000, 20000])
@pytest.mark.parametrize("share", [0.003, 0.01, 0.04])
def test_a_marker_does_not_decide(share, value):
    side = round((share * HEIGHT * WIDTH) ** 0.5)
    samples = _of_depth(12)
    samples[2 : 2 + side, 3 : 3 + side] = value
    # its edges are smooth
    samples[2, 3 : 3 + side] = samples[2, 3 : 3 + side] // 2 + 2000
    for data in _files(samples):
        shown = _shown(data)
        assert (shown[3 : 2 + side, 3 : 3 + side] == 255).all()
        shown[2 : 2 + side, 3 : 3 + side] = CHEST[2 : 2 + side, 3 : 3 + side]
        assert np.abs(shown - CHEST).max() <= 1


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2])
def test_a_bright_part_of_a_real_picture_is_not_clipped(share):
    bright = np.random.default_rng(0).integers(5000, 65536, round(share * HEIGHT * WIDTH))
    samples = _of_depth(12)
    samples.ravel()[: bright.size] = bright
    for data in _files(samples):
        shown = _shown(data).ravel()[: bright.size]
        np.testing.assert_array_equal(shown, np.rint(bright * (255 / 65535)))
        assert _decoded(data).warning is None


def test_a_hot_pixel_does_not_brighten_its_neighbors_when_the_image_shrinks():
    samples = np.full((64, 64), 1000, np.uint16)
    samples[0] = np.arange(1024, 4096, 48)
    samples[40, 40] = 65535
    settings = preprocessing.Preprocessing(height=8, width=8)
    shown = preprocessing.decode(png(samples, depth=16), settings).pixels[:, :, 0]
    assert shown[5, 5] == np.rint((1000 * 63 + 4095) / 64 * (255 / 4095))


# stated depths


@pytest.mark.parametrize("bits", range(9, 16))
def test_dark_samples_have_the_depth_that_the_file_states(bits):
    samples = _of_depth(8)
    wanted = np.rint(samples * (255 / ((1 << bits) - 1)))
    for data in (
        png(samples, chunk(b"sBIT", bytes([bits])), depth=16),
        tiff(samples, bits=bits),
        tiff(samples, tags={281: (3, [(1 << bits) - 1])}),
        tiff(samples, tags={341: (3, [(1 << bits) - 1])}),
    ):
        np.testing.assert_array_equal(_shown(data), wanted)
        assert _decoded(data).warning is None


def test_a_hot_pixel_above_the_stated_depth_becomes_white():
    samples = _of_depth(12)
    samples[5, 7] = 65535
    text = "its samples are taken for the 12 bits that the file states; "
    for data in (
        png(samples, chunk(b"sBIT", b"\x0c"), depth=16),
        tiff(samples, tags={341: (3, [4095])}),
    ):
        decoded = _decoded(data)
        assert decoded.warning == text + "1 of 6912 are above 4095 and become white"
        assert decoded.pixels[5, 7, 0] == 255
        assert abs(decoded.pixels.mean() - CHEST.mean()) < 0.5


def test_samples_that_were_scaled_to_16_bits_are_shown_so_whatever_their_depth_was():
    samples = _of_depth(12) << 4
    data = png(samples, chunk(b"sBIT", b"\x0c"), depth=16)
    np.testing.assert_array_equal(_shown(data), np.rint(samples * (255 / 65535)))
    assert _decoded(data).warning is None


def test_a_stated_depth_that_the_samples_exceed_does_not_count():
    samples = _of_depth(14)
    for data in (
        png(samples, chunk(b"sBIT", b"\x0a"), depth=16),
        tiff(samples, tags={281: (3, [1023])}),
    ):
        assert np.abs(_shown(data) - CHEST).max() <= 1
        assert "14 bits, though they are stored in 16" in _decoded(data).warning


def test_white_is_zero_within_the_stated_depth():
    samples = 4095 - _of_depth(12)
    data = tiff(samples, photometric=0, tags={281: (3, [4095])})
    assert np.abs(_shown(data) - CHEST).max() <= 1


def test_8_bits_are_8_bits():
    data = png(CHEST, chunk(b"sBIT", b"\x04"))
    np.testing.assert_array_equal(_shown(data), CHEST)
    assert _decoded(data).warning is None
