"""Every accepted raster is what an independent decoder makes of it; every header, too."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnjobs.errors import ImageError
from cnnjobs.imaging import headers, preprocessing
from tests.imaging.differential import raster_oracles, raster_variants, rasters
from tests.support import image_files
from tests.support.corpus import CHEST
from tests.support.image_files import chunk

SEEDED = settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
SMALL = np.ascontiguousarray(CHEST[20:37, 10:31])
SHORT = st.integers(0, 65535)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "BMP", "WebP"])
def test_every_variant_is_what_the_oracle_shows_or_refused_for_its_reason(format_):
    results = [
        rasters.compare(variant)
        for variant in raster_variants.variants()
        if variant.name.startswith(format_)
    ]
    assert [f"{result.name}: {result.fault}" for result in results if result.fault] == []
    accepted = [result for result in results if result.error is None]
    assert len(accepted) > 30
    assert max(result.difference for result in accepted) <= rasters.ALLOWED


def _is_right_or_refused(data):
    """A picture equal to the oracle's where both accept the file, or an ImageError."""
    try:
        picture = preprocessing.read(data, max_pixels=10**5)
    except ImageError as error:
        # not one that no check foresaw
        if "contradict" in str(error):
            raise
        return
    assert headers.read(data).format in ("png", "tiff", "bmp")
    again = preprocessing.read(bytes(bytearray(data)), max_pixels=10**5)
    np.testing.assert_array_equal(again.gray, picture.gray)
    height, width = picture.gray.shape
    how = preprocessing.Preprocessing(height=height, width=width)
    found = preprocessing.decode(data, how).pixels[:, :, 0]
    try:
        expected = raster_oracles.shown(data)
    except Exception:  # noqa: BLE001 - the oracles raise whatever they like
        return
    if expected.shape == found.shape:
        assert np.abs(found - expected).mean() <= rasters.ALLOWED


@SEEDED
@given(
    width=st.integers(0, 40),
    height=st.integers(0, 40),
    depth=st.sampled_from([0, 1, 2, 4, 8, 16, 3, 255]),
    color=st.sampled_from([0, 2, 3, 4, 6, 1, 7]),
    methods=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    palette=st.none() | st.binary(max_size=800),
    transparent=st.none() | st.binary(max_size=300),
    bits=st.none() | st.binary(max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_png_header(width, height, depth, color, methods, palette, transparent, bits, seed):
    header = struct.pack(">IIBBBBB", width, height, depth, color, *methods)
    extra = {b"sBIT": bits, b"PLTE": palette, b"tRNS": transparent}
    chunks = [chunk(kind, body) for kind, body in extra.items() if body is not None]
    stream = _rows(width, height, depth * {2: 3, 4: 2, 6: 4}.get(color, 1), seed)
    pixels = chunk(b"IDAT", image_files.zlib.compress(stream))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    _is_right_or_refused(start + b"".join(chunks) + pixels + chunk(b"IEND"))


def _rows(width, height, bits, seed):
    """Return enough random rows, each after the number of a filter, also for seven passes."""
    rng, size = np.random.default_rng(seed), (width * bits + 7) // 8
    return b"".join(bytes([rng.integers(5)]) + rng.bytes(size) for _ in range(height))


TIFF_TAGS = {
    254: st.integers(0, 4),
    256: st.integers(0, 40),
    257: st.integers(0, 40),
    258: st.integers(0, 17) | SHORT,
    259: st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50000]),
    262: st.integers(0, 9),
    266: st.integers(0, 3),
    273: st.integers(0, 400),
    274: st.integers(0, 9) | SHORT,
    277: st.integers(0, 6) | SHORT,
    278: st.integers(0, 40) | SHORT,
    279: st.integers(0, 400),
    281: SHORT,
    284: st.integers(0, 3),
    317: st.integers(0, 3),
    320: SHORT,
    322: st.integers(0, 40),
    323: st.integers(0, 40),
    324: st.integers(0, 400),
    325: st.integers(0, 400),
    338: st.integers(0, 3),
    339: st.integers(0, 5),
    341: SHORT,
    347: st.integers(0, 255),
}


@SEEDED
@given(
    changed=st.dictionaries(
        st.sampled_from(sorted(TIFF_TAGS)), st.integers(1, 6), min_size=1, max_size=3
    ),
    data=st.data(),
    kind=st.sampled_from([{}, {"compression": 5}, {"compression": 8}, {"tile": (16, 16)}]),
    big=st.booleans(),
    order=st.sampled_from("<>"),
    deep=st.booleans(),
)
def test_any_tiff_directory(changed, data, kind, big, order, deep):
    tags = {}
    for tag, number in changed.items():
        values = data.draw(st.lists(TIFF_TAGS[tag], min_size=number, max_size=number))
        tags[tag] = data.draw(st.none() | st.just((3, values)))
    samples = SMALL.astype(np.uint16) * 257 if deep else SMALL
    _is_right_or_refused(image_files.tiff(samples, tags=tags, big=big, order=order, **kind))


@SEEDED
@given(
    start=st.binary(max_size=40),
    magic=st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]),
)
def test_any_start_of_a_tiff(start, magic):
    _is_right_or_refused(magic + start)
    with pytest.raises(ImageError):
        headers.read(magic + b"\xff" * 8 + start[:4])


@SEEDED
@given(
    fields=st.tuples(
        st.sampled_from([12, 40, 52, 56, 64, 108, 124]) | st.integers(0, 200),
        st.integers(-1, 40),
        st.integers(-40, 40),
        st.integers(0, 2),
        st.sampled_from([1, 2, 4, 8, 16, 24, 32]) | SHORT,
        st.integers(0, 7),
    ),
    num_colors=st.integers(0, 300) | st.integers(0, 2**32 - 1),
    offset=st.integers(0, 1200),
    masks=st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4)
    | st.just([0xF800, 0x7E0, 0x1F, 0])
    | st.just([0xFF0000, 0xFF00, 0xFF, 0xFF000000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_bmp_header(fields, num_colors, offset, masks, seed):
    info = struct.pack("<IiiHHI", *fields) + struct.pack("<IiiII", 0, 0, 0, num_colors, 0)
    head = struct.pack("<2sIII", b"BM", 0, 0, offset)
    body = np.random.default_rng(seed).bytes(8000)
    _is_right_or_refused(head + info + struct.pack("<4I", *masks) + body)
