"""Damage in the metadata of a JPEG costs no pixels; damage in its scan is still refused."""

import io

import numpy as np
import pytest
from PIL import Image

from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import jpeg
from tests.support.corpus import CHEST
from tests.support.corpus.base import COLOR, by_pillow, encoded, flipped, segment

IGNORED = "its metadata is damaged and ignored"
ICC = b"ICC_PROFILE\0"

#: Bodies of segments that libjpeg-turbo complains of, and others that it does not.
BROKEN = {
    "ICC, part 2 of 1": (0xE2, ICC + b"\2\1rubbish"),
    "ICC, part 0": (0xE2, ICC + b"\0\1rubbish"),
    "ICC, part 1 of 2": (0xE2, ICC + b"\1\2rubbish"),
    "ICC, part 1 of 0": (0xE2, ICC + b"\1\0rubbish"),
}
ODD = {
    "ICC, nothing": (0xE2, ICC),
    "APP2": (0xE2, b"rubbish"),
    "EXIF": (0xE1, b"Exif\0\0rubbish"),
    "EXIF, nothing": (0xE1, b""),
    "Photoshop": (0xED, b"Photoshop 3.0\x008BIM\xff\xff"),
    "Adobe, short": (0xEE, b"Adobe"),
    "JFIF, short": (0xE0, b"JFIF\0"),
    "JFXX": (0xE0, b"JFXX\0\x99rubbish"),
    "a comment": (0xFE, b"\xff\xd9\xff\xda" * 9),
    "FlashPix": (0xE2, b"FPXR\0\xff"),
    "MPF": (0xE2, b"MPF\0rubbish"),
}


def _with(data, name):
    marker, body = {**BROKEN, **ODD}[name]
    return data[:2] + segment(marker, body) + data[2:]


def _read(data, **options):
    return jpeg.read(data, max_pixels=10**6, **options)


FILES = {
    "gray": encoded(".jpg", CHEST),
    "color": encoded(".jpg", np.dstack([CHEST, 255 - CHEST, CHEST // 2])),
    "progressive": by_pillow("JPEG", COLOR, progressive=True),
    "not converted": by_pillow("JPEG", COLOR, keep_rgb=True),
}


@pytest.mark.parametrize("name", [*BROKEN, *ODD])
@pytest.mark.parametrize("kind", FILES)
def test_the_pixels_beside_broken_metadata_are_sound(kind, name):
    sound, picture = _read(FILES[kind]), _read(_with(FILES[kind], name))
    np.testing.assert_array_equal(picture.gray, sound.gray)
    assert picture.warning == (IGNORED if name in BROKEN else None)


@pytest.mark.parametrize("version", [0, 2, 7, 255])
def test_a_jfif_of_an_unknown_version_is_read(version):
    data = bytearray(FILES["color"])
    data[data.index(b"JFIF\0") + 5] = version
    picture = _read(bytes(data))
    np.testing.assert_array_equal(picture.gray, _read(FILES["color"]).gray)


@pytest.mark.parametrize("transform", range(3, 256, 50))
def test_an_unknown_adobe_transform_is_the_usual_one(transform):
    file = io.BytesIO()
    Image.fromarray(COLOR).convert("CMYK").save(file, "JPEG")
    for data, usual in ((FILES["not converted"], 1), (file.getvalue(), 2)):
        changed, expected = bytearray(data), bytearray(data)
        changed[data.index(b"Adobe") + 11] = transform
        expected[data.index(b"Adobe") + 11] = usual
        picture = _read(bytes(changed))
        np.testing.assert_array_equal(picture.gray, _read(bytes(expected)).gray)
        assert picture.warning == IGNORED


@pytest.mark.parametrize("name", BROKEN)
def test_damage_in_the_scan_is_refused_all_the_same(name):
    data = FILES["gray"]
    damaged = _with(flipped(data, data.index(b"\xff\xda") + 400, 30), name)
    with pytest.raises(ImageError, match=r"^damaged: libjpeg reports: "):
        _read(damaged)
    assert _read(damaged, keep_damaged=True).warning.startswith("damaged: libjpeg reports: ")
    with pytest.raises(ImageError, match=r"^truncated: "):
        _read(_with(data[:-500], name))


def test_an_orientation_beside_a_broken_profile_counts():
    turned = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="3"/>'
    data = _with(FILES["gray"], "ICC, part 0")
    picture = _read(data[:2] + segment(0xE1, turned) + data[2:])
    np.testing.assert_array_equal(picture.gray, _read(FILES["gray"]).gray[::-1, ::-1])
    assert picture.steps == ("JPEG, 8 bits, baseline, gray", "turned by XMP orientation 3")
