"""Where pydicom cannot be used: each of these tells when it can."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from tests.imaging.differential.dicom_variants import curve, drawing, made, table, window

VALUES = drawing(12).astype(np.int32)


def _dataset(**attributes):
    return pydicom.dcmread(io.BytesIO(made(VALUES, **attributes)))


@pytest.mark.xfail(strict=True, reason="pydicom 3.0 takes the index modulo 256")
def test_pydicom_looks_up_entries_of_8_bits():
    luts = table(curve(4096, 8), bits=8)
    np.testing.assert_array_equal(
        apply_voi(VALUES, _dataset(VOILUTSequence=luts)), curve(4096, 8)[VALUES]
    )


@pytest.mark.xfail(strict=True, raises=TypeError, reason="pydicom issue 2317")
def test_pydicom_looks_up_modality_entries_of_12_bits():
    luts = table(curve(4096, 12), bits=12)
    np.testing.assert_array_equal(
        apply_modality_lut(VALUES, _dataset(ModalityLUTSequence=luts)), curve(4096, 12)[VALUES]
    )


@pytest.mark.xfail(strict=True, reason="pydicom 3.0 unpacks words only")
def test_pydicom_looks_up_entries_packed_into_words():
    luts = table(curve(4096, 8), bits=8, stored_as="packed")
    np.testing.assert_array_equal(
        apply_modality_lut(VALUES, _dataset(ModalityLUTSequence=luts)), curve(4096, 8)[VALUES]
    )


@pytest.mark.xfail(strict=True, reason="pydicom 3.0 has the sign of the value representation only")
def test_pydicom_knows_the_sign_of_the_first_value_from_the_values():
    luts = table(curve(4096, 12), first=(-1024) % 65536, vr="US", stored_as="OW")
    dataset = _dataset(VOILUTSequence=luts, RescaleSlope=1, RescaleIntercept=-1024)
    np.testing.assert_array_equal(apply_voi(VALUES - 1024, dataset), curve(4096, 12)[VALUES])


@pytest.mark.xfail(strict=True, reason="pydicom 3.0 ignores HighBit")
def test_pydicom_honours_high_bit():
    np.testing.assert_array_equal(_dataset(high=15, **window()).pixel_array, VALUES)
