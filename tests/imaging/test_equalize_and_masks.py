"""Cropped borders, black corners and equalized gray values: the same in training and scoring."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ConfigError
from cnnjobs.imaging import preprocessing as images
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.models import ARCHITECTURES, bundle
from cnnjobs.training import decoded_images
from cnnjobs.training.distributed.task import preprocessing
from tests.support.bundles import write_bundle
from tests.support.image_files import dicom, exif

EVERYTHING = {"crop": 0.1, "mask_corners": 0.2, "equalize": True}


def _png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def _pixels(gray, **settings):
    return images.decode(_png(gray), Preprocessing(**settings)).pixels[:, :, 0]


@pytest.fixture(scope="module")
def chest():
    return phantom(np.random.default_rng(0), height=230, width=190, opacity=True)


def test_a_crop_leaves_the_middle_as_it_is():
    gray = np.arange(200, dtype=np.uint8).reshape(10, 20)
    np.testing.assert_array_equal(_pixels(gray, height=6, width=12, crop=0.2), gray[2:8, 4:16])


@pytest.mark.parametrize(
    ("side", "crop", "left"), [(1, 0.49, 1), (2, 0.49, 2), (3, 0.4, 1), (9, 0.1, 9), (10, 0.1, 8)]
)
def test_a_crop_is_rounded_down_and_always_leaves_a_pixel(side, crop, left):
    assert images.cropped(np.zeros((side, 50), np.uint8), crop).shape[0] == left


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_cropped_off_changes_no_pixel(dtype):
    # 12 bits inside; a mark of 16 bits in the border would make all darker if it counted
    rng = np.random.default_rng(0)
    inner = rng.integers(0, 256 if dtype is np.uint8 else 4096, (80, 80), dtype)
    dark, bright = (np.full((100, 100), value, dtype) for value in (0, np.iinfo(dtype).max))
    for border in (dark, bright):
        border[10:90, 10:90] = inner
    settings = {"height": 40, "width": 40, "crop": 0.1, "equalize": True}
    np.testing.assert_array_equal(_pixels(dark, **settings), _pixels(bright, **settings))


def test_black_corners_hide_what_stood_there_from_the_equalization_too():
    plain = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    marked = plain.copy()
    marked[:12, -12:] = 255
    settings = {"height": 64, "width": 64, "mask_corners": 0.2}
    masked = _pixels(plain, **settings)
    expected = plain.copy()
    # 0.2 of 64 are 13
    for rows in (slice(0, 13), slice(51, 64)):
        for columns in (slice(0, 13), slice(51, 64)):
            expected[rows, columns] = 0
    np.testing.assert_array_equal(masked, expected)
    np.testing.assert_array_equal(
        _pixels(plain, **settings, equalize=True), _pixels(marked, **settings, equalize=True)
    )


def test_equalizing_is_opencv_s_clahe_of_the_resized_8_bit_image(chest):
    clahe = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4))
    settings = {"height": 96, "width": 96}
    plain = _pixels(chest, **settings)
    equalized = _pixels(chest, **settings, equalize=True, clip_limit=3.0, tiles=4)
    np.testing.assert_array_equal(equalized, clahe.apply(plain))
    assert np.abs(equalized.astype(int) - plain).mean() > 5


def test_the_same_image_in_8_and_16_bits_is_equalized_to_the_same_pixels(chest):
    settings = {"height": 96, "width": 96, **EVERYTHING}
    deep = chest.astype(np.uint16) * 257
    difference = np.abs(_pixels(deep, **settings).astype(int) - _pixels(chest, **settings))
    # averages are rounded once more in 8 bits, which an equalization can widen
    assert np.median(difference) == 0
    assert difference.max() <= 8


def test_a_dicom_file_and_a_png_of_the_same_pixels_become_the_same(chest):
    settings = Preprocessing(height=96, width=96, **EVERYTHING)
    ours, theirs = (images.decode(data, settings) for data in (dicom(chest), _png(chest)))
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)


def test_an_image_smaller_than_the_tiles_is_equalized_all_the_same():
    assert _pixels(np.full((3, 3), 9, np.uint8), height=4, width=4, equalize=True).shape == (4, 4)


def test_a_scaled_jpeg_keeps_twice_the_requested_sides_within_the_crop():
    settings = Preprocessing(height=256, width=200, scaled_jpeg=True, crop=0.1)
    assert settings.decoded_size == (640, 500)
    data = cv2.imencode(".jpg", np.zeros((1300, 1010), np.uint8))[1].tobytes()
    whole = images.read(data, max_pixels=10**7, at_least=settings.decoded_size)
    assert whole.gray.shape == (650, 505)
    assert Preprocessing(height=256, width=200, crop=0.1).decoded_size is None


def test_a_scaled_jpeg_is_cropped_where_a_whole_one_is():
    gray = phantom(np.random.default_rng(1), height=1024, width=1300, opacity=True)
    # turned a quarter by its EXIF tag: the crop is that of the upright image
    turns = [(cv2.IMAGE_METADATA_EXIF, exif(turn)) for turn in (1, 6)]
    for kind, block in turns:
        block = np.frombuffer(block, np.uint8)
        file = cv2.imencodeWithMetadata(".jpg", gray, [kind], [block])[1].tobytes()
        scaled, full = (
            images.decode(file, Preprocessing(height=64, width=64, crop=0.13, scaled_jpeg=scaled))
            for scaled in (True, False)
        )
        assert (scaled.width, scaled.height) == (full.width, full.height)
        difference = np.abs(scaled.pixels.astype(int) - full.pixels)
        assert difference.mean() < 1.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 0.5}, "crop must be at least 0 and below 0.5, got 0.5."),
        ({"crop": -0.1}, "crop must be at least 0 and below 0.5, got -0.1."),
        ({"mask_corners": 1.0}, "mask_corners must be at least 0 and below 0.5, got 1.0."),
        ({"clip_limit": 0.0}, "clip_limit must be above 0, got 0.0."),
        ({"tiles": 0}, "tiles must be at least 1, got 0."),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        Preprocessing(height=8, width=8, **settings)
    assert str(caught.value) == message


def test_training_and_scoring_see_the_same_pixels(chest, tmp_path):
    (tmp_path / "chest.png").write_bytes(_png(chest))
    config = TrainConfig(data="unused", output="unused", **EVERYTHING)
    trained_with = preprocessing(config, ARCHITECTURES["covid-gap"])
    written = write_bundle(tmp_path / "bundle", "covid-gap", **EVERYTHING)
    scored_with = bundle.read(written.uri)
    assert scored_with.preprocessing == trained_with

    file = str(tmp_path / "chest.png")
    nulls = {name: [None] for name in ("label", "width", "height", "error")}
    rows = pa.table({"path": [file], "size_bytes": [1], **nulls})
    pixels = decoded_images.pixels_of(decoded_images.decode_rows(rows, trained_with))
    alone = reading.decoded(_png(chest), scored_with.preprocessing)
    np.testing.assert_array_equal(pixels[0], alone.pixels)

    (score,) = np.asarray(bundle.load_model(scored_with)(pixels))[:, 0]
    scoring = Scoring(bundles=[scored_with], engine="openvino", batch_size=1, run_id="one")
    scored = Predictor(scoring, threads=1)(rows)
    assert scored["probability"][0].as_py() == pytest.approx(score, abs=1e-5)


def test_a_bundle_that_does_not_say_has_none_of_it(tmp_path):
    written = write_bundle(tmp_path / "bundle", "digits")
    file = Path(written.uri) / "bundle.json"
    described = json.loads(file.read_text())
    described["preprocessing"] = {"height": 28, "width": 28}
    file.write_text(json.dumps(described))
    # such a bundle is older than seals
    Path(written.uri, "SHA256SUMS").unlink()
    assert bundle.read(written.uri).preprocessing == Preprocessing(
        height=28, width=28, crop=0.0, mask_corners=0.0, equalize=False
    )
