import contextlib
import struct

import cv2
import numpy as np
import pytest

from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ImageError
from cnnjobs.imaging.formats import JPEG, jpeg
from tests.support.image_files import exif

MANY = 10**9
PIXELS = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def _jpeg(*options):
    return cv2.imencode(".jpg", PIXELS, list(options))[1].tobytes()


def _read(data):
    return jpeg.read(data, max_pixels=MANY)


def _error(data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        jpeg.read(data, max_pixels=max_pixels)
    return str(caught.value)


def test_a_whole_jpeg_passes():
    _read(_jpeg())
    _read(_jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    _read(_jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    _read(_jpeg() + b"trailing")


def test_fill_bytes_before_a_jpeg_marker_are_skipped():
    data = _jpeg()
    _read(data[:2] + b"\xff\xff\xff" + data[2:])


@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)]
)
def test_a_jpeg_cut_anywhere_is_truncated(options):
    data = _jpeg(*options)
    for end in range(len(JPEG), len(data)):
        assert _error(data[:end]).startswith("truncated: "), end


def test_a_jpeg_cut_in_its_scan_says_so():
    assert _error(_jpeg()[:-2]) == "truncated: the JPEG's scan has no end"


def test_a_jpeg_cut_in_its_header_says_so():
    message = "truncated: the JPEG ends before its pixels"
    assert _error(_jpeg()[:30]) == message


def test_a_jpeg_cut_in_its_frame_header_is_truncated_whatever_the_limit():
    data = _jpeg()
    frame = data.index(b"\xff\xc0")
    for end in range(frame, frame + 9):
        assert _error(data[:end], PIXELS.size).startswith("truncated: "), end


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_jpeg():
    thumbnail = cv2.imencode(".jpg", PIXELS[:16, :16])[1].tobytes()
    block = np.frombuffer(exif(1, thumbnail=thumbnail), np.uint8)
    kinds = [cv2.IMAGE_METADATA_EXIF]
    data = cv2.imencodeWithMetadata(".jpg", PIXELS, kinds, [block])[1].tobytes()
    assert data.index(b"\xff\xd9") < data.rindex(b"\xff\xda")
    _read(data)
    for end in range(len(JPEG), len(data)):
        assert _error(data[:end]).startswith("truncated: "), end


def test_a_jpeg_without_the_marker_that_must_follow_is_damaged():
    data = bytearray(_jpeg())
    data[2 + 2 + int.from_bytes(data[4:6], "big")] = 0
    assert _error(bytes(data)) == "damaged: a JPEG marker is missing"


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_jpeg_too_large_by_its_header_is_refused_before_its_pixels(options):
    data = bytearray(_jpeg(*options))
    frame = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 50_000, 60_000)
    message = "too large: 60000 x 50000 pixels, 200000000 are allowed"
    assert _error(bytes(data), 200_000_000) == message


# pixels and damage

KINDS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}
CHEST = phantom(np.random.default_rng(1), height=200, width=240, opacity=True)
COLORS = cv2.applyColorMap(CHEST, cv2.COLORMAP_JET)


def _chest(kind, pixels=CHEST):
    return cv2.imencode(".jpg", pixels, list(KINDS[kind]))[1].tobytes()


def _in_scan(data, share):
    start = data.index(b"\xff\xda") + 12
    return start + int((len(data) - start) * share)


@pytest.mark.parametrize("pixels", [CHEST, COLORS])
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_that_opencv_decodes(kind, pixels):
    data = _chest(kind, pixels)
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(_read(data).gray, wanted)


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_no_sampling_of_colors_changes_the_luma(sampling):
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    data = cv2.imencode(".jpg", COLORS, options)[1].tobytes()
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(_read(data).gray, wanted)
    assert _read(data).warning is None


@pytest.mark.parametrize("kind", ["baseline", "restarts"])
def test_a_piece_of_the_scan_that_is_lost_is_damage(kind):
    data = _chest(kind)
    for share in (0.2, 0.5, 0.8):
        place = _in_scan(data, share)
        message = _error(data[:place] + data[place + 50 :])
        assert message.startswith("damaged: libjpeg reports: "), share


def test_most_pieces_that_progressive_scans_lose_are_damage():
    # the rest of a scan may be taken for zeros, which need no bits
    data = _chest("progressive")
    noticed = 0
    for share in np.linspace(0, 0.9, 50):
        place = _in_scan(data, share)
        with contextlib.suppress(ImageError):
            _read(data[:place] + data[place + 50 :])
            noticed -= 1
        noticed += 1
    assert noticed > 30


@pytest.mark.parametrize("kind", KINDS)
def test_accepted_damage_is_reported_and_decodes_to_the_same_pixels_every_time(kind):
    data = _chest(kind)
    place = _in_scan(data, 0.6)
    broken = data[:place] + data[place + 50 :]
    first, second = (jpeg.read(broken, max_pixels=MANY, keep_damaged=True) for _ in range(2))
    assert first.warning.startswith("damaged: libjpeg reports: ")
    np.testing.assert_array_equal(first.gray, second.gray)
    # what stands before the damage is whole, where the scan goes from top to bottom
    if kind != "progressive":
        np.testing.assert_array_equal(first.gray[:96], _read(data).gray[:96])


@pytest.mark.parametrize("at_least", [None, (50, 60)])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_jpeg_that_is_kept_has_its_upper_part(share, at_least):
    data = _chest("baseline")
    cut = data[: _in_scan(data, share)]
    assert _error(cut) == "truncated: the JPEG's scan has no end"
    kept = jpeg.read(cut, max_pixels=MANY, keep_damaged=True, at_least=at_least)
    whole = jpeg.read(data, max_pixels=MANY, at_least=at_least).gray
    assert kept.warning == "truncated: the JPEG's scan has no end"
    assert (kept.width, kept.height) == (240, 200)
    same = (kept.gray == whole).all(axis=1)
    # rows of blocks are of unequal length in bytes
    assert same[: max(0, int(len(whole) * (share - 0.2)))].all()
    assert not same[-1]


def test_a_jpeg_cut_before_its_pixels_is_an_error_also_if_damage_is_kept():
    data = _chest("baseline")
    with pytest.raises(ImageError, match=r"^truncated: the JPEG ends before its pixels$"):
        jpeg.read(data[:100], max_pixels=MANY, keep_damaged=True)


def test_a_damaged_jpeg_that_is_too_large_is_refused_also_if_damage_is_kept():
    with pytest.raises(ImageError, match=r"^too large: "):
        jpeg.read(_chest("baseline")[:-500], max_pixels=47_999, keep_damaged=True)


def test_more_scans_than_any_camera_writes_are_refused():
    data = _chest("progressive")
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff\xc4", start)]
    message = "unsupported: a JPEG of more than 100 scans"
    assert _error(data[:start] + scan * 101 + b"\xff\xd9") == message
    with pytest.raises(ImageError, match=message):
        jpeg.read(data[:start] + scan * 101, max_pixels=MANY, keep_damaged=True)
