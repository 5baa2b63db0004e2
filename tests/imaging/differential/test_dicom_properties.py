"""DICOM files with attributes at random: the picture of dcmtk, or an error, and always the same."""

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom
from tests.imaging.differential.dicom_variants import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    LUT,
    MOST,
    RANGE,
    WINDOW,
    curve,
    made,
    table,
)
from tests.support import dcmtk
from tests.support.image_files import dicom as dicom_file

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=120
)

TEXTS = st.sampled_from(["", " ", "1A", "-1", "0", "1e400", "nan", "65536", "ROSENKRANZ^ERIKA"])
NUMBERS = st.one_of(st.integers(-70_000, 70_000), st.floats(-1e20, 1e20), TEXTS)
WORDS = st.integers(0, 65535)


@st.composite
def _sound(draw):
    """A file that follows the standard, and how dcmtk is asked for it."""
    allocated, bits = draw(
        st.sampled_from([(8, 8), (16, 8), (16, 10), (16, 12), (16, 16), (32, 20)])
    )
    signed = draw(st.booleans())
    rows, columns = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    half = 1 << (bits - 1)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = rng.integers(0, 2 * half, (rows, columns)) - (half if signed else 0)
    attributes = {
        "allocated": allocated,
        "bits": bits,
        "high": draw(st.integers(bits - 1, allocated - 1)),
        "signed": signed,
        "syntax": draw(
            st.sampled_from([EXPLICIT, IMPLICIT] if allocated == 32 else [EXPLICIT, IMPLICIT, BIG])
        ),
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
    }
    lowest, highest = int(values.min()), int(values.max())
    if draw(st.booleans()):
        slope, intercept = draw(st.sampled_from([-2, -1, 1, 2, 3])), draw(st.integers(-2000, 2000))
        attributes |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
        lowest, highest = sorted((slope * lowest + intercept, slope * highest + intercept))
    kind = draw(st.sampled_from(["window", "table", "nothing"]))
    if kind == "window":
        width = draw(st.integers(1, 2 * half))
        attributes |= {"WindowCenter": draw(st.integers(lowest, highest)), "WindowWidth": width}
        return made(values, **attributes), WINDOW
    if kind == "table" and -32768 <= lowest <= highest <= 32767:
        count, depth = draw(st.integers(2, 3000)), draw(st.integers(8, 16))
        order = ">" if attributes["syntax"] == BIG else "<"
        stored_as = draw(st.sampled_from(["packed", "OW"] if depth == 8 else ["OW"]))
        layout = {"bits": depth, "stored_as": stored_as, "order": order}
        luts = table(curve(count, depth), first=draw(st.integers(lowest, highest)), **layout)
        return made(values, VOILUTSequence=luts, **attributes), LUT
    half_range = ("+Ww", "128", "256")
    as_stored = bits == 8 and not signed and "RescaleSlope" not in attributes
    return made(values, **attributes), half_range if as_stored else RANGE


@pytest.mark.skipif(dcmtk.MISSING is not None, reason=str(dcmtk.MISSING))
@SETTINGS
@given(_sound())
def test_a_sound_file_shows_what_dcmtk_shows(drawn):
    data, options = drawn
    picture = dicom.read(data, max_pixels=100)
    wanted = dcmtk.rendered(data, *options)
    assert np.abs(picture.gray.astype(int) - wanted).mean() <= MOST
    assert picture.warning is None


@st.composite
def _odd(draw):
    """A file of any values at all."""
    samples = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    item = pydicom.Dataset()
    if draw(st.booleans()):
        item.add_new("LUTDescriptor", "US", draw(st.lists(WORDS, max_size=4)))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(["OW", "OB"]))
        item.add_new("LUTData", kind, draw(st.binary(max_size=600)))
    attributes = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "Rows": st.sampled_from([0, 1, 5, 6, 7, 65535]),
                "Columns": st.sampled_from([0, 1, 8, 9, 65535]),
                "SamplesPerPixel": st.sampled_from([0, 1, 2, 3, 4]),
                "BitsAllocated": st.sampled_from([0, 1, 8, 12, 16, 32, 64]),
                "BitsStored": st.integers(0, 33),
                "HighBit": st.integers(0, 33),
                "PixelRepresentation": st.integers(0, 2),
                "PhotometricInterpretation": st.sampled_from(
                    ["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL_422", "PALETTE COLOR", "odd"]
                ),
                "PlanarConfiguration": st.integers(0, 2),
                "ModalityLUTSequence": st.just(pydicom.Sequence([item])),
                "VOILUTSequence": st.just(pydicom.Sequence([item, item])),
            },
        )
    )
    written = pydicom.Dataset()
    names = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "NumberOfFrames")
    for name in (*names, "PixelPaddingValue", "PixelPaddingRangeLimit", "VOILUTFunction"):
        if draw(st.booleans()):
            written.add_new(name, "LO", str(draw(NUMBERS))[:16])
    return dicom_file(samples, **attributes, written=written)


@SETTINGS
@given(_odd())
def test_an_odd_file_is_a_picture_or_an_error_and_the_same_twice(data):
    def outcome():
        try:
            picture = dicom.read(data, max_pixels=10_000, any_modality=True)
        except ImageError as error:
            return str(error)
        assert picture.gray.shape == (picture.height, picture.width)
        assert picture.gray.dtype == np.uint8
        return picture.gray.tobytes(), picture.warning, picture.steps

    first = outcome()
    assert first == outcome()
    assert "ROSENKRANZ" not in str(first)
