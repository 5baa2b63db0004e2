"""Of several pages of a TIFF, the one of full resolution is shown, and a warning says so."""

import io

import numpy as np
import pytest
import tifffile

from cnnjobs.errors import ImageError
from cnnjobs.imaging import headers, preprocessing
from tests.support.corpus import CHEST

SMALL = np.ascontiguousarray(CHEST[::4, ::4])
MASK = np.ascontiguousarray(CHEST > 100)
FULL, REDUCED, PAGE, TRANSPARENCY = 0, 1, 2, 4


def _file(*pages, big=False, order="<"):
    """Return a TIFF of pages (samples, kind, number of pages below it)."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        for samples, kind, below in pages:
            writer.write(
                samples,
                photometric="minisblack",
                subfiletype=kind,
                subifds=below,
                metadata=None,
                # samples that say whose depth the header shows
                bitspersample=None if samples.dtype == bool else 8 * samples.itemsize,
            )
    return file.getvalue()


def _read(data):
    return preprocessing.read(data, max_pixels=10**6)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "pages",
    [
        [(SMALL, REDUCED, 0), (CHEST, FULL, 0)],
        [(SMALL, REDUCED | PAGE, 0), (CHEST, PAGE, 0)],
        [(SMALL, REDUCED, 0), (SMALL, REDUCED, 0), (CHEST, FULL, 0), (255 - CHEST, FULL, 0)],
        [(SMALL, REDUCED, 1), (CHEST, FULL, 0)],
        [(SMALL, REDUCED, 2), (SMALL, REDUCED, 0), (CHEST, FULL, 0), (255 - CHEST, FULL, 0)],
        [(MASK, TRANSPARENCY, 0), (CHEST, FULL, 0)],
    ],
)
def test_a_thumbnail_or_mask_is_not_the_image(pages, order, big):
    data = _file(*pages, big=big, order=order)
    picture = _read(data)
    np.testing.assert_array_equal(picture.gray, CHEST)
    assert picture.warning == "the page of full resolution, of several pages"
    assert headers.read(data).bits == 8


def test_the_first_page_is_shown_if_it_is_an_image():
    data = _file((CHEST, FULL, 0), (SMALL, REDUCED, 0))
    assert _read(data).warning == "the first of several pages"
    np.testing.assert_array_equal(_read(data).gray, CHEST)
    pyramid = _file((CHEST, FULL, 1), (SMALL, REDUCED, 0))
    np.testing.assert_array_equal(_read(pyramid).gray, CHEST)
    assert _read(pyramid).warning is None


def test_a_thumbnail_alone_is_shown():
    np.testing.assert_array_equal(_read(_file((SMALL, REDUCED, 0))).gray, SMALL)
    assert _read(_file((SMALL, REDUCED, 0))).warning is None


def test_a_thumbnail_is_not_shown_for_an_image_that_is_cut_off():
    data = _file((SMALL, REDUCED, 0), (CHEST, FULL, 0))
    with pytest.raises(ImageError, match=r"^truncated: the TIFF ends before its (directory|pix)"):
        _read(data[: data.index(CHEST.tobytes()) + 100])


def test_pages_that_follow_each_other_in_a_circle_end():
    data = bytearray(_file((SMALL, REDUCED, 0), (SMALL, REDUCED, 0)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        first, second = file.pages
        end = second.offset + 2 + 12 * len(second.tags)
    data[end : end + 4] = first.offset.to_bytes(4, "little")
    assert _read(bytes(data)).warning == "the first of several pages"
