import io
import struct
import tracemalloc

import numpy as np
import pydicom
import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom, headers
from tests.support.image_files import dicom as dicom_file

DEFLATED = "1.2.840.10008.1.2.1.99"
GRAY = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)


def _deflated(**attributes):
    return dicom_file(GRAY, syntax=DEFLATED, **attributes)


def _with_private(data, size):
    """Return a file with so many zeros before its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.private_block(0x0009, "drawing", create=True).add_new(0x01, "OB", bytes(size))
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_a_deflated_file_shows_the_same_as_a_plain_one():
    np.testing.assert_array_equal(dicom.read(_deflated(), max_pixels=GRAY.size).gray, GRAY)
    small = _with_private(_deflated(), 1 << 20)
    np.testing.assert_array_equal(dicom.read(small, max_pixels=GRAY.size).gray, GRAY)


def test_its_header_and_patient_are_read():
    data = _deflated(PatientID="123")
    assert headers.read(data).tags["Modality"] == "DX"
    plain = dicom.patient_group(dicom_file(GRAY, PatientID="123"), b"key")
    assert dicom.patient_group(data, b"key") == plain


def test_only_the_header_of_the_file_says_that_it_is_deflated():
    named = dicom_file(GRAY, ImageComments=DEFLATED)
    np.testing.assert_array_equal(dicom.read(named, max_pixels=GRAY.size).gray, GRAY)


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (
            _with_private(_deflated(), 256 << 20),
            "too large: a deflated DICOM file whose header has more than 16777216 bytes",
        ),
        (
            _deflated(Rows=60_000, Columns=60_000, PixelData=bytes(64 << 20)),
            "too large: 60000 x 60000 pixels, 1000000 are allowed",
        ),
    ],
    ids=["header", "pixels"],
)
def test_a_bomb_is_refused_in_little_memory(bomb, message):
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(ImageError) as caught:
        dicom.read(bomb, max_pixels=10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == message
    assert peak < 96 << 20


def test_frames_after_the_first_are_not_inflated():
    bomb = _deflated(NumberOfFrames=60_000, PixelData=GRAY.tobytes() + bytes(256 << 20))
    tracemalloc.start()
    picture = dicom.read(bomb, max_pixels=10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(picture.gray, GRAY)
    assert peak < 96 << 20


@pytest.mark.parametrize("keep", [140, 400, -20])
def test_a_cut_one_is_an_error(keep):
    whole = _deflated()
    with pytest.raises(ImageError):
        dicom.read(whole[:keep], max_pixels=10**6)


def test_what_does_not_inflate_is_damaged():
    whole = _deflated()
    (length,) = struct.unpack_from("<I", whole, 140)
    # no block is of this type (RFC 1951 section 3.2.3)
    data = whole[: 144 + length] + b"\xff" + whole[145 + length :]
    with pytest.raises(ImageError, match="damaged: a DICOM file: it cannot be inflated"):
        dicom.read(data, max_pixels=10**6)
