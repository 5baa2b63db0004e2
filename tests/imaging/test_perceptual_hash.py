"""Hashes of pictures: what they survive, and what tells them apart."""

import cv2
import numpy as np
import pytest

from cnnjobs.data.duplicates import MAX_DISTANCE
from cnnjobs.data.phantoms import phantom
from cnnjobs.imaging.perceptual_hash import CROPS, HASH_BYTES, perceptual_hashes


def _chest(seed=0, *, opacity=False):
    return phantom(np.random.default_rng(seed), height=240, width=220, opacity=opacity)


def _distance(one, other):
    """Different bits of the hashes of two whole images."""
    bits = zip(perceptual_hashes(one)[:32], perceptual_hashes(other)[:32], strict=True)
    return sum((a ^ b).bit_count() for a, b in bits)


def test_every_hash_has_256_bits_and_is_the_same_each_time():
    assert len(perceptual_hashes(_chest())) == HASH_BYTES * (1 + len(CROPS))
    assert perceptual_hashes(_chest()) == perceptual_hashes(_chest())


def test_a_perceptual_hash_survives_jpeg():
    chest = _chest()
    for quality in (30, 60, 90):
        _, data = cv2.imencode(".jpg", chest, [cv2.IMWRITE_JPEG_QUALITY, quality])
        copy = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        assert _distance(chest, copy) <= MAX_DISTANCE


def test_a_perceptual_hash_survives_another_size():
    chest = _chest()
    for width, height in ((440, 480), (110, 120), (150, 200), (64, 64)):
        copy = cv2.resize(chest, (width, height), interpolation=cv2.INTER_AREA)
        assert _distance(chest, copy) <= MAX_DISTANCE, (width, height)


def test_a_perceptual_hash_survives_brightness_and_contrast():
    chest = _chest()
    for contrast, brightness in ((1, 20), (1, -20), (0.7, 30), (1.2, -20)):
        copy = cv2.convertScaleAbs(chest, alpha=contrast, beta=brightness)
        assert _distance(chest, copy) <= MAX_DISTANCE, (contrast, brightness)


def test_a_perceptual_hash_survives_16_bits():
    chest = _chest()
    assert _distance(chest, chest.astype(np.uint16) * 16) <= 2


def test_other_chests_are_far_apart():
    chests = [_chest(seed, opacity=seed % 2 == 1) for seed in range(8)]
    for position, one in enumerate(chests):
        for other in chests[:position]:
            assert _distance(one, other) > 2 * MAX_DISTANCE


def test_small_images_have_no_perceptual_hash():
    chest = _chest()
    assert perceptual_hashes(cv2.resize(chest, (63, 200))) is None
    assert perceptual_hashes(cv2.resize(chest, (200, 63))) is None
    assert perceptual_hashes(cv2.resize(chest, (64, 64))) is not None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flat_images_have_no_perceptual_hash(dtype):
    assert perceptual_hashes(np.full((100, 100), 200, dtype)) is None


def test_the_hash_of_an_inverted_image_is_the_complement():
    chest = _chest()
    for inverted in (255 - chest, 65535 - chest.astype(np.uint16) * 257):
        assert _distance(chest, inverted) >= 256 - 4


def test_the_hash_of_a_crop_is_that_of_the_cropped_image():
    chest = cv2.resize(_chest(), (640, 640), interpolation=cv2.INTER_LINEAR)
    hashes = perceptual_hashes(chest)
    for number, share in enumerate(CROPS, 1):
        cut = round(share * 640)
        cropped = np.ascontiguousarray(chest[cut : 640 - cut, cut : 640 - cut])
        of_crop = hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]
        pairs = zip(of_crop, perceptual_hashes(cropped)[:HASH_BYTES], strict=True)
        assert sum((one ^ other).bit_count() for one, other in pairs) <= 8


def test_an_image_without_contrast_in_its_middle_has_a_hash():
    framed = np.zeros((400, 400), np.uint8)
    framed[:8] = 255
    hashes = perceptual_hashes(framed)
    assert hashes == hashes[:HASH_BYTES] * (1 + len(CROPS))
