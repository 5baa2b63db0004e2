import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging import formats


def test_as_many_pixels_as_allowed_are_allowed():
    formats.check_size(20, 10, 200)
    with pytest.raises(ImageError, match=r"^too large: 20 x 10 pixels, 199 are allowed$"):
        formats.check_size(20, 10, 199)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"BM", "bmp"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
        (b"RIFF\0\0\0\0WEBP", "webp"),
        (b"\2\0\0\0UL\4\0", "dicom"),
        (b"\x08\0\5\0\x0a\0\0\0ISO_IR 100", "dicom"),
        (bytes(128) + b"DICM", "dicom"),
        (b"II*\0" + bytes(124) + b"DICM", "dicom"),
    ],
)
def test_a_format_is_recognized_by_its_first_bytes(start, name):
    assert formats.recognize(start + bytes(200)) == name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty: the file has no bytes"),
        (b"GIF89a", "unsupported: a GIF file; supported are PNG, JPEG, BMP, TIFF, WebP and DICOM"),
        (
            b"\0\0\0\x18ftypheic",
            "unsupported: a HEIC file; supported are PNG, JPEG, BMP, TIFF, WebP and DICOM",
        ),
        (b"%PDF-1.7", "not an image: it is a PDF document"),
        (b"\xef\xbb\xbf\n<HTML>", "not an image: it is a web page"),
        (bytes(100), "not an image: it begins with zeros only"),
        (b"text", "not an image: it does not begin like any known image format"),
    ],
)
def test_what_is_not_read_is_named(data, message):
    with pytest.raises(ImageError) as caught:
        formats.recognize(data)
    assert str(caught.value) == message


def test_dicom_without_a_suffix_is_recognized_by_its_header():
    assert formats.is_dicom(bytes(128) + b"DICM")
    assert not formats.is_dicom(b"DICM" + bytes(128))
    assert not formats.is_dicom(bytes(128) + b"DIC")
    assert not formats.is_dicom(b"")


def test_a_side_longer_than_opencv_takes_is_too_large():
    formats.check_size(1 << 20, 1, 10**9)
    message = "too large: 1048577 x 1 pixels, 1048576 per side are allowed"
    with pytest.raises(ImageError) as caught:
        formats.check_size((1 << 20) + 1, 1, 10**9)
    assert str(caught.value) == message
