"""Images are turned upright, wherever their file says which way up it is."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnnjobs.imaging import preprocessing
from cnnjobs.imaging.formats import orientation
from tests.support.corpus import CHEST, HEIGHT, WIDTH
from tests.support.corpus.base import by_pillow, encoded, segment
from tests.support.image_files import chunk, exif, png, tiff

NUMBERS = range(1, 9)
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"


def _xmp(number, form='tiff:Orientation="{}"'):
    inner = form.format(number)
    element = f"<rdf:Description {inner}/>" if "=" in form else f"<rdf:Description>{inner}"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{element}'.encode()


XMP_FORMS = (
    'tiff:Orientation="{}"',
    "tiff:Orientation='{}'",
    "<tiff:Orientation>{}</tiff:Orientation>",
)


def _stored(number):
    """Return the chest as Pillow undoes it: transposed by the inverse of an orientation."""
    how = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(number)
    image = Image.fromarray(CHEST)
    return np.asarray(image if how is None else image.transpose(how))


def _gray(data):
    return preprocessing.read(data, max_pixels=10**6).gray


def _is_upright(data, allowed=0):
    found = _gray(data)
    return found.shape == CHEST.shape and np.abs(found.astype(int) - CHEST).mean() <= allowed


def _raw_profile(name, body):
    text = f"\n{name}\n{len(body):8}\n".encode()
    digits = body.hex().encode()
    return text + b"\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))


def _png_texts(number):
    """Return PNG chunks that state an orientation, by kind."""
    xmp, whole = _xmp(number), b"Exif\0\0" + exif(number)
    packed = zlib.compress(xmp)
    texts = {
        "eXIf": chunk(b"eXIf", exif(number)),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "iTXt with a language": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0XMP\0" + xmp),
        "compressed iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        "tEXt": chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp),
        "zTXt": chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + packed),
    }
    for name, body in (
        ("exif", whole),
        ("APP1", whole),
        ("app1", XMP_START + xmp),
        ("xmp", xmp),
    ):
        profile, keyword = _raw_profile(name, body), f"Raw profile type {name}\0".encode()
        texts[f"tEXt {name} {len(body)}"] = chunk(b"tEXt", keyword + profile)
        packed = zlib.compress(profile)
        texts[f"zTXt {name} {len(body)}"] = chunk(b"zTXt", keyword + b"\0" + packed)
    return texts


@pytest.mark.parametrize("kind", _png_texts(1))
@pytest.mark.parametrize("number", NUMBERS)
def test_a_png_is_turned_by_exif_and_xmp_in_every_chunk(kind, number):
    assert _is_upright(png(_stored(number), _png_texts(number)[kind]))


@pytest.mark.parametrize("form", XMP_FORMS)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_jpeg_a_webp_and_a_tiff_are_turned_by_xmp(number, form):
    stored, xmp = _stored(number), _xmp(number, form)
    data = encoded(".jpg", stored)
    assert _is_upright(data[:2] + segment(0xE1, XMP_START + xmp) + data[2:], 1.5)
    color = np.dstack([stored] * 3)
    assert _is_upright(by_pillow("WEBP", color, lossless=True, xmp=xmp))
    assert _is_upright(tiff(stored, tags={274: None, 700: (1, list(xmp))}))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_webp_and_a_tiff_are_turned_by_their_own_tags(number):
    color = np.dstack([_stored(number)] * 3)
    assert _is_upright(by_pillow("WEBP", color, lossless=True, exif=exif(number)))
    assert _is_upright(tiff(_stored(number), orientation=number))


@pytest.mark.parametrize("number", NUMBERS)
def test_exif_goes_before_xmp(number):
    stored, other = _stored(number), _xmp(number % 8 + 1)
    chunks = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + other), chunk(b"eXIf", exif(number))
    assert _is_upright(png(stored, *chunks))
    data = encoded(".jpg", stored)
    segments = segment(0xE1, XMP_START + other) + segment(0xE1, b"Exif\0\0" + exif(number))
    assert _is_upright(data[:2] + segments + data[2:], 1.5)
    assert _is_upright(
        by_pillow("WEBP", np.dstack([stored] * 3), lossless=True, exif=exif(number), xmp=other)
    )
    assert _is_upright(tiff(stored, orientation=number, tags={700: (1, list(other))}))


def test_what_was_turned_is_said():
    picture = preprocessing.read(
        png(_stored(6), chunk(b"tEXt", b"XML:com.adobe.xmp\0" + _xmp(6))), max_pixels=10**6
    )
    assert picture.steps == ("PNG, 8 bits, gray", "turned by XMP orientation 6")
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "text",
    [
        b"XML:com.adobe.xmp",
        b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 24)),
        b"XML:com.adobe.xmp\0\1\0\0\0broken",
        b"Raw profile type exif\0\nexif\n 8\nno digits",
        b"Raw profile type exif\0",
        b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(9),
    ],
)
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_broken_texts_turn_nothing(kind, text):
    assert _is_upright(png(CHEST, chunk(kind, text)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", NUMBERS)
def test_the_orientation_is_read_in_both_byte_orders(number, order):
    assert orientation.exif_orientation(exif(number, order)) == number
    assert orientation.exif_orientation(b"Exif\0\0" + exif(number, order)) == number


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(number):
    assert orientation.exif_orientation(exif(number)) is None
    assert orientation.stated(exif(number)).number == 1


def test_a_directory_without_an_orientation_states_none():
    width = struct.pack("<HHIHH", 0x0100, 3, 1, 6, 0)
    assert orientation.exif_orientation(b"II*\0" + struct.pack("<IH", 8, 1) + width) is None


def test_a_broken_exif_block_states_none():
    whole = exif(6)
    assert {orientation.exif_orientation(whole[:end]) for end in range(18)} == {None}
    assert orientation.exif_orientation(b"text, no EXIF") is None
    assert orientation.exif_orientation(b"II*\0" + struct.pack("<I", 2**32 - 1)) is None
