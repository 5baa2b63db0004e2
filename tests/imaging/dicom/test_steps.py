"""What is said about a picture: the steps that made it, and warnings."""

import cv2
import numpy as np
import pytest

from cnnjobs.imaging import dicom
from tests.imaging.differential.dicom_variants import curve, drawing, made, table, window
from tests.support.image_files import dicom as dicom_file

NAME = "ROSENKRANZ^ERIKA"


def _picture(data):
    return dicom.read(data, max_pixels=10**6, any_modality=True)


def test_every_step_is_named_in_order():
    tables = table(curve(4096, 12)[::-1])
    tables += table(curve(4096, 8), bits=8)
    data = made(
        drawing(12),
        Modality="CR",
        high=15,
        VOILUTSequence=tables,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
    )
    assert _picture(data).steps == (
        "DICOM CR, 12 of 16 bits, MONOCHROME1, uncompressed",
        "shifted by 4 bits: HighBit is 15",
        "rescaled: slope 1, intercept -1024",
        "VOI LUT 1 of 2 (4096 entries of 12 bits)",
        "inverted: MONOCHROME1",
        "padding shown black",
    )


@pytest.mark.parametrize(
    ("attributes", "steps"),
    [
        (window(), ["window: LINEAR, center 1638, width 2458"]),
        ({}, ["scaled from the smallest value 0 to the largest 4095"]),
        (
            {"ModalityLUTSequence": table(curve(4096, 10), bits=10), **window(10)},
            [
                "modality LUT 1 of 1 (4096 entries of 10 bits)",
                "window: LINEAR, center 410, width 614",
            ],
        ),
    ],
)
def test_other_kinds_have_other_steps(attributes, steps):
    assert list(_picture(made(drawing(12), **attributes)).steps[1:]) == steps


def test_frames_and_compression_are_named():
    gray = drawing(8).astype(np.uint8)
    file = cv2.imencode(".jpg", gray)[1].tobytes()
    jpeg = dicom_file(gray, syntax="1.2.840.10008.1.2.4.50", frames=[file])
    kind = "DICOM DX, 8 of 8 bits, MONOCHROME2, JPEG Baseline"
    assert _picture(jpeg).steps == (kind, "shown as stored")
    two = dicom_file(np.concatenate([gray, gray]), Rows=len(gray), NumberOfFrames=2)
    assert _picture(two).steps[1] == "frame 1 of 2"


def test_no_text_of_the_file_is_in_steps_or_warnings():
    names = ("Modality", "PresentationLUTShape", "VOILUTFunction", "PatientName", "PatientID")
    picture = _picture(made(drawing(12), **window(), **dict.fromkeys(names, NAME)))
    said = " ".join((*picture.steps, picture.warning))
    assert said.startswith("DICOM of no known modality, 12 of 16 bits")
    assert "ROSENKRANZ" not in said
    assert picture.warning == "an unknown VOILUTFunction is taken for LINEAR"


def test_several_warnings_are_one_line():
    odd = window(WindowWidth=0, RescaleSlope=0, RescaleIntercept=1)
    assert _picture(made(drawing(12), **odd)).warning == (
        "RescaleSlope 0 and RescaleIntercept 1 are ignored: values would be lost; "
        "the window of center 1638 and width 0 is ignored"
    )
