import hashlib
import io
import logging
import os
import struct
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.pixels.processing import apply_windowing
from pydicom.sequence import Sequence

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom, preprocessing
from tests.support.image_files import dicom as dicom_file

MANY = 10**8
RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOR = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
J2K = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"


def _gray(data, **options):
    return dicom.read(data, max_pixels=MANY, **options).gray


def _error(data, max_pixels=MANY, **options):
    with pytest.raises(ImageError) as caught:
        dicom.read(data, max_pixels=max_pixels, **options)
    return str(caught.value)


def _pydicom_file(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()


def _compressed(data, syntax):
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.compress(syntax)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _look_up_table(values, *, first=0, bits=8):
    """Return a sequence of one table, as Modality LUT and VOI LUT have it."""
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [len(values), first, bits])
    table.add_new("LUTData", "US", list(values))
    table.ModalityLUTType = "US"
    return Sequence([table])


# what is shown


def test_8_bits_without_a_window_stay_as_they_are():
    np.testing.assert_array_equal(_gray(dicom_file(GRAY)), GRAY)


def test_more_bits_without_a_window_span_from_the_smallest_to_the_largest_value():
    gray = _gray(dicom_file(RAMP + 100, BitsStored=13))
    np.testing.assert_array_equal(gray, np.rint(RAMP * (255 / RAMP.max())))


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_that_of_the_standard(function):
    window = {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": function}
    data = dicom_file(RAMP, BitsStored=12, **window)
    wanted = apply_windowing(RAMP, pydicom.dcmread(io.BytesIO(data))) * (255 / 4095)
    assert np.abs(_gray(data) - wanted).max() <= 0.51


def test_a_window_of_width_1_is_a_threshold():
    gray = _gray(dicom_file(RAMP, BitsStored=12, WindowCenter=1600, WindowWidth=1))
    np.testing.assert_array_equal(gray, (RAMP >= 1600) * 255)


def test_the_first_of_several_windows_counts():
    one = dicom_file(RAMP, BitsStored=12, WindowCenter=500, WindowWidth=400)
    several = dicom_file(RAMP, BitsStored=12, WindowCenter=[500, 3000], WindowWidth=[400, 100])
    np.testing.assert_array_equal(_gray(several), _gray(one))


def test_the_window_is_on_rescaled_values():
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    rescaled = _gray(dicom_file(RAMP, WindowCenter=3000, WindowWidth=2001, **rescale))
    plain = _gray(dicom_file(RAMP, WindowCenter=2000.25, WindowWidth=1001))
    assert np.abs(rescaled.astype(int) - plain).max() <= 1


def test_a_negative_slope_inverts():
    gray = _gray(dicom_file(GRAY, RescaleSlope=-1, RescaleIntercept=0))
    np.testing.assert_array_equal(gray, 255 - GRAY)


def test_a_modality_table_comes_before_the_window():
    table = _look_up_table(range(255, -1, -1), bits=16)
    window = {"WindowCenter": 128, "WindowWidth": 256}
    gray = _gray(dicom_file(GRAY, ModalityLUTSequence=table, **window))
    np.testing.assert_array_equal(gray, 255 - GRAY)


def test_a_table_of_gray_levels_is_preferred_to_a_window():
    table = _look_up_table([1023 - 4 * level for level in range(256)], bits=10)
    window = {"WindowCenter": 10, "WindowWidth": 20}
    gray = _gray(dicom_file(GRAY, VOILUTSequence=table, **window))
    np.testing.assert_array_equal(gray, np.rint((1023 - 4.0 * GRAY) * (255 / 1023)))


def test_monochrome1_is_inverted_after_the_window():
    window = {"BitsStored": 12, "WindowCenter": 1000, "WindowWidth": 800}
    white_is_low = dicom_file(RAMP, PhotometricInterpretation="MONOCHROME1", **window)
    np.testing.assert_array_equal(_gray(white_is_low), 255 - _gray(dicom_file(RAMP, **window)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(photometric):
    pixels = RAMP.copy()
    pixels[0] = 65000
    kind = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 65000}
    gray = _gray(dicom_file(pixels, **kind))
    assert (gray[0] == 0).all()
    assert sorted({int(gray[1:].min()), int(gray[1:].max())}) == [0, 255]


def test_a_range_of_padding_is_black():
    limits = {"PixelPaddingValue": 200, "PixelPaddingRangeLimit": 250}
    gray = _gray(dicom_file(GRAY, **limits))
    np.testing.assert_array_equal(gray, np.where((GRAY >= 200) & (GRAY <= 250), 0, GRAY))


def test_negative_padding_is_understood():
    pixels = RAMP.astype(np.int16) - 2000
    pixels[0] = -32768
    data = dicom_file(pixels, PixelPaddingValue=-32768)
    gray = _gray(data)
    assert (gray[0] == 0).all()
    assert gray[1:].max() == 255
    unsigned = data.replace(struct.pack("<HH2sH", 0x28, 0x120, b"SS", 2), b"\x28\0\x20\1US\2\0")
    assert unsigned != data
    np.testing.assert_array_equal(_gray(unsigned), gray)


def test_bits_beyond_those_stored_are_cut_off():
    with_overlay = RAMP | np.uint16(0x8000)
    window = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    np.testing.assert_array_equal(
        _gray(dicom_file(with_overlay, **window)), _gray(dicom_file(RAMP, **window))
    )


def test_signed_values_keep_their_sign():
    pixels = RAMP.astype(np.int16) - 2048
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    wanted = _gray(dicom_file(RAMP, WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_array_equal(_gray(dicom_file(pixels, **window)), wanted)
    # twelve bits with a sign, four unused ones of zero
    stored = (pixels.view(np.uint16) & 0x0FFF).view(np.int16)
    np.testing.assert_array_equal(_gray(dicom_file(stored, BitsStored=12, **window)), wanted)


def test_color_becomes_luma():
    wanted = COLOR @ [0.299, 0.587, 0.114]
    assert np.abs(_gray(dicom_file(COLOR)) - wanted).max() <= 0.51
    planes = np.moveaxis(COLOR, 2, 0).tobytes()
    assert np.abs(_gray(dicom_file(COLOR, PlanarConfiguration=1, PixelData=planes)) - wanted).max()


def test_ybr_becomes_the_luma_of_its_colors():
    ybr = cv2.cvtColor(COLOR, cv2.COLOR_RGB2YCrCb)[:, :, [0, 2, 1]]
    gray = _gray(dicom_file(ybr, PhotometricInterpretation="YBR_FULL"))
    # colors outside of RGB are clipped first
    assert np.abs(gray.astype(int) - ybr[:, :, 0]).max() <= 2


def test_the_first_of_several_frames_is_used_with_a_warning():
    frames = np.concatenate([GRAY, GRAY[::-1], GRAY])
    picture = dicom.read(dicom_file(frames, Rows=16, NumberOfFrames=3), max_pixels=MANY)
    np.testing.assert_array_equal(picture.gray, GRAY)
    assert picture.warning == "the first of 3 frames"


# how pixels are packed


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize("meta", [True, False])
def test_a_file_without_the_128_bytes_and_header_is_read_all_the_same(syntax, meta):
    if syntax == "1.2.840.10008.1.2":
        dataset = pydicom.dcmread(io.BytesIO(dicom_file(GRAY)))
        dataset.file_meta.TransferSyntaxUID = syntax
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, implicit_vr=True, little_endian=True)
        data = file.getvalue()
        data = data if meta else data[144 + struct.unpack_from("<I", data, 140)[0] :]
    else:
        data = dicom_file(GRAY, meta=meta)
    assert (data[128:132] == b"DICM") is meta
    np.testing.assert_array_equal(preprocessing.read_gray(data, max_pixels=256), GRAY)


def test_a_header_of_tiff_before_that_of_dicom_does_no_harm():
    data = b"II*\0" + dicom_file(GRAY)[4:]
    np.testing.assert_array_equal(preprocessing.read_gray(data, max_pixels=256), GRAY)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", J2K])
def test_lossless_compression_changes_nothing(syntax):
    large = np.kron(RAMP, np.ones((4, 4), np.uint16))
    data = dicom_file(large, BitsStored=12, WindowCenter=1000, WindowWidth=900)
    np.testing.assert_array_equal(_gray(_compressed(data, syntax)), _gray(data))


def test_a_jpeg_inside_is_decoded_like_any_jpeg():
    file = cv2.imencode(".jpg", GRAY)[1].tobytes()
    wanted = preprocessing.read_gray(file, max_pixels=MANY)
    np.testing.assert_array_equal(_gray(dicom_file(GRAY, syntax=JPEG, frames=[file])), wanted)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("JPGExtended.dcm", (1024, 256)),  # 12-bit JPEG
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64)),
        ("examples_jpeg2k.dcm", (480, 640)),
        ("SC_rgb_jpeg_gdcm.dcm", (100, 100)),  # lossless JPEG of RGB
        ("SC_rgb_rle_16bit.dcm", (100, 100)),
        ("ExplVR_BigEnd.dcm", (60, 80)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100)),
        ("image_dfl.dcm", (512, 512)),  # deflated
        ("examples_palette.dcm", (350, 800)),
        ("badVR.dcm", (10, 10)),  # its number of frames is none
    ],
)
def test_the_test_files_of_pydicom_are_read(name, wanted):
    gray = _gray(_pydicom_file(name), any_modality=True)
    assert gray.shape == wanted
    assert gray.std() > 5


# what is refused


@pytest.mark.parametrize("modality", ["CR", "DX", "RG"])
def test_radiographs_are_taken(modality):
    assert _gray(dicom_file(GRAY, Modality=modality)).shape == (16, 16)


def test_other_modalities_are_refused_unless_all_are_requested():
    data = dicom_file(GRAY, Modality="CT")
    assert _error(data) == "unsupported: DICOM of modality CT; CR, DX, RG are radiographs"
    np.testing.assert_array_equal(_gray(data, any_modality=True), GRAY)


@pytest.mark.parametrize("modality", [None, "", "DOE^JOHN"])
def test_a_modality_that_is_none_is_not_repeated(modality):
    message = "unsupported: DICOM of no known modality; CR, DX, RG are radiographs"
    assert _error(dicom_file(GRAY, Modality=modality)) == message


def test_an_object_without_an_image_is_not_an_image():
    message = "not an image: a DICOM object without pixels, or truncated before them"
    assert _error(_pydicom_file("rtplan.dcm")) == message


def test_missing_pixels_are_truncated():
    data = dicom_file(GRAY)
    message = "truncated: a DICOM file: 56 bytes of its pixels are missing"
    assert _error(data[:-56]) == message
    assert _error(data[:-266]).startswith("truncated: ")


def test_truncated_pixels_are_kept_on_request():
    picture = dicom.read(dicom_file(GRAY)[:-56], max_pixels=MANY, keep_damaged=True)
    wanted = GRAY.copy()
    wanted.ravel()[-56:] = 0
    np.testing.assert_array_equal(picture.gray, wanted)
    assert picture.warning == "truncated: a DICOM file: 56 bytes of its pixels are missing"


def test_a_dicom_cut_anywhere_is_an_error():
    for whole in (dicom_file(GRAY), _compressed(dicom_file(np.tile(GRAY, (4, 4))), J2K)):
        for end in range(132, len(whole) - 12, 7):
            with pytest.raises(ImageError):
                dicom.read(whole[:end], max_pixels=MANY, any_modality=True)


def test_a_damaged_jpeg_inside_is_damaged():
    file = bytearray(cv2.imencode(".jpg", cv2.resize(GRAY, (64, 64)))[1].tobytes())
    file[-40:-20] = bytes(20)
    data = dicom_file(np.zeros((64, 64), np.uint8), syntax=JPEG, frames=[bytes(file)])
    assert _error(data).startswith("damaged: libjpeg reports: ")
    picture = dicom.read(data, max_pixels=MANY, keep_damaged=True)
    assert picture.warning.startswith("damaged: libjpeg reports: ")


def test_more_pixels_than_allowed_are_refused_by_the_header():
    data = dicom_file(GRAY, Rows=60_000, Columns=60_000)
    assert _error(data) == "too large: 60000 x 60000 pixels, 100000000 are allowed"


@pytest.mark.parametrize("kind", ["jpeg", "jpeg 2000"])
def test_a_compressed_image_larger_than_its_header_says_is_refused(kind):
    if kind == "jpeg":
        file = bytearray(cv2.imencode(".jpg", GRAY)[1].tobytes())
        place = file.index(b"\xff\xc0") + 5
        file[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
        data = dicom_file(GRAY, syntax="1.2.840.10008.1.2.4.51", frames=[bytes(file)])
    else:
        data = bytearray(_compressed(dicom_file(np.tile(GRAY, (4, 4))), J2K))
        place = data.index(b"\xff\x4f\xff\x51") + 8
        data[place : place + 8] = struct.pack(">II", 60_000, 60_000)
    assert _error(bytes(data)) == "damaged: a DICOM file: its compressed image has a different size"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": None}, "damaged: a DICOM file: Rows is missing"),
        ({"BitsStored": 0}, "unsupported: DICOM of 8 bits per sample"),
        ({"BitsAllocated": 1}, "unsupported: DICOM of 1 bits per sample"),
        ({"Rows": 0}, "damaged: 16 x 0 pixels according to its header"),
        (
            {"PhotometricInterpretation": "CMYK"},
            "unsupported: DICOM of an unsupported photometric interpretation",
        ),
        (
            {"PhotometricInterpretation": "PALETTE COLOR"},
            "damaged: a DICOM file: its palette cannot be used",
        ),
    ],
)
def test_missing_header_attributes_are_reported(attributes, message):
    assert _error(dicom_file(GRAY, HighBit=7, **attributes)) == message


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    data = dicom_file(GRAY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    message = "unsupported: DICOM needs the extra: pip install 'cnnjobs[dicom]'"
    assert _error(data) == message
    with pytest.raises(ImageError, match="needs the extra"):
        dicom.patient_group(data, b"key")


# the patient

NAME = "ROSENKRANZ^ERIKA"


def _named_everywhere():
    """Return a file whose every text, valid or not there, is a name."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_file(GRAY)))
    texts = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "CS", "DS", "IS", "DA", "TM", "AS"}
    with warnings.catch_warnings(action="ignore"):
        for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
            known = tag in dataset or tag >> 16 < 8 or tag >> 16 > 0x50
            if kind in texts and keyword and not known:
                dataset.add_new(tag, "LO", NAME)
        dataset.remove_private_tags()
        file = io.BytesIO()
        dataset.save_as(file)
    return file.getvalue()


def test_a_name_in_every_text_shows_up_nowhere(capfd, caplog):
    whole = _named_everywhere()
    assert whole.count(NAME.encode()) > 500
    rng = np.random.default_rng(0)
    said = []
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        for number in range(200):
            data = bytearray(whole)
            for place in rng.integers(132, len(data), 0 if number == 0 else 20):
                data[place] = rng.integers(256)
            for options in ({}, {"any_modality": True, "keep_damaged": True}):
                try:
                    said.append(dicom.read(bytes(data), max_pixels=MANY, **options).warning)
                except ImageError as error:
                    said.append(str(error))
    said += [str(warning.message) for warning in caught]
    printed = "\n".join([*map(str, said), caplog.text, *capfd.readouterr()])
    assert "ROSENKRANZ" not in printed.upper()
    assert "ERIKA" not in printed.upper()
    # every one of them ended in pixels or an error, and not all in the same
    assert len(set(said)) > 3


def test_a_group_is_the_patients_under_one_key():
    one, again, other = (
        dicom.patient_group(dicom_file(pixels, PatientID=patient), b"key")
        for pixels, patient in ((GRAY, "123"), (GRAY[::-1], "123 "), (GRAY, "124"))
    )
    assert one == again != other
    assert len(one) == 32
    assert dicom.patient_group(dicom_file(GRAY, PatientID="123"), b"another key") != one


def test_a_group_does_not_hold_the_number_nor_its_plain_hash():
    group = dicom.patient_group(dicom_file(GRAY, PatientID="123"), b"key")
    assert hashlib.sha256(b"123").hexdigest()[:32] != group


@pytest.mark.parametrize("patient", [None, "", "   "])
def test_without_a_patient_there_is_no_group(patient):
    assert dicom.patient_group(dicom_file(GRAY, PatientID=patient), b"key") is None


@pytest.mark.skipif("CNNJOBS_REAL_DATA" not in os.environ, reason="CNNJOBS_REAL_DATA is not set")
def test_real_radiographs_show_dark_lungs_and_a_bright_heart():
    files = sorted((Path(os.environ["CNNJOBS_REAL_DATA"]) / "dicom").glob("chest-*.dcm"))
    assert len(files) == 2
    for file in files:
        data = file.read_bytes()
        small = preprocessing.decode(data, preprocessing.Preprocessing(height=16, width=16)).pixels[
            :, :, 0
        ]
        lung, heart = small[5:8, 4:6].mean(), small[9:12, 8:11].mean()
        assert heart > lung + 20, file.name
        assert len(dicom.patient_group(data, b"key") or "none") in (32, 4)
