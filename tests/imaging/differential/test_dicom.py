import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from cnnjobs.errors import ImageError
from tests.imaging.differential import dicom_variants
from tests.support import dcmtk

VARIANTS = dicom_variants.variants()
ACCEPTED = [variant for variant in VARIANTS if not variant.refused]
REFUSED = [variant for variant in VARIANTS if variant.refused]
BY_PYDICOM = [variant for variant in VARIANTS if variant.by_pydicom]


def _named(variant):
    return variant.name


def test_there_are_two_hundred_kinds():
    assert len(ACCEPTED) >= 200
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.skipif(dcmtk.MISSING is not None, reason=str(dcmtk.MISSING))
@pytest.mark.parametrize("variant", ACCEPTED, ids=_named)
def test_a_picture_is_that_of_dcmtk(variant):
    picture = dicom_variants.read(variant)
    assert dicom_variants.difference(variant, picture.gray) <= dicom_variants.MOST


@pytest.mark.parametrize("variant", ACCEPTED, ids=_named)
def test_a_picture_is_the_same_twice_and_says_what_was_assumed(variant):
    one, two = dicom_variants.read(variant), dicom_variants.read(variant)
    np.testing.assert_array_equal(one.gray, two.gray)
    assert one.warning == two.warning == variant.warning
    assert one.steps == two.steps
    assert one.steps[0].startswith("DICOM DX, ")
    if variant.padding is not None:
        assert (one.gray[variant.padding] == 0).all()
        assert one.steps[-1] == "padding shown black"


@pytest.mark.parametrize("variant", BY_PYDICOM, ids=_named)
def test_a_picture_is_that_of_pydicom_where_that_is_right(variant):
    dataset = pydicom.dcmread(io.BytesIO(variant.data))
    values = apply_modality_lut(dataset.pixel_array, dataset)
    shown = apply_voi_lut(values, dataset)
    if "VOILUTSequence" in dataset:
        lowest, highest = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:
        # it maps windows to the range of the values
        half = 1 << (dataset.BitsStored - 1)
        ends = (-half, half - 1) if dataset.PixelRepresentation else (0, 2 * half - 1)
        slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        lowest, highest = (slope * end + intercept for end in ends)
    levels = (shown - lowest) * (255 / (highest - lowest))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    assert np.abs(dicom_variants.read(variant).gray - levels).mean() <= 0.5


@pytest.mark.parametrize("variant", REFUSED, ids=_named)
def test_a_refused_file_says_why(variant):
    with pytest.raises(ImageError) as caught:
        dicom_variants.read(variant)
    assert str(caught.value) == variant.refused
