"""DICOM."""

from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file

from tests.support import image_files
from tests.support.corpus.base import CHEST, COLOR, HEIGHT, WARNING, Odd, encoded, flipped


def dicoms():
    deep = CHEST.astype(np.uint16) * 16
    data = image_files.dicom(CHEST)
    jpeg = encoded(".jpg", CHEST)
    scan = jpeg.index(b"\xff\xda")
    window = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    baseline = {"syntax": "1.2.840.10008.1.2.4.50"}
    deflated = {"syntax": "1.2.840.10008.1.2.1.99"}
    sound = {
        "8 bits.dcm": data,
        "12 bits in 16.dcm": image_files.dicom(deep, **window),
        "MONOCHROME1.dcm": image_files.dicom(255 - CHEST, PhotometricInterpretation="MONOCHROME1"),
        "RGB.dcm": image_files.dicom(COLOR),
        "JPEG inside.dcm": image_files.dicom(CHEST, frames=[jpeg], **baseline),
        "deflated.dcm": image_files.dicom(CHEST, **deflated),
        "12 bits from bit 4 on.dcm": image_files.dicom(deep * 16, HighBit=15, **window),
        "no preamble.dcm": image_files.dicom(CHEST, meta=False),
        "a TIFF header in the preamble.dcm": b"MM\0*" + data[4:],
    }
    three = np.concatenate([CHEST] * 3)
    broken = image_files.dicom(CHEST, frames=[flipped(jpeg, scan + 400, 30)], **baseline)
    return {
        **{name: Odd(file) for name, file in sound.items()},
        "three frames.dcm": Odd(image_files.dicom(three, Rows=HEIGHT, NumberOfFrames=3), WARNING),
        "computed tomography.dcm": Odd(image_files.dicom(CHEST, Modality="CT"), "unsupported"),
        "no modality.dcm": Odd(image_files.dicom(CHEST, Modality=None), "unsupported"),
        "no pixels.dcm": Odd(_read_test_file("rtplan.dcm"), "not an image"),
        "float pixels.dcm": Odd(
            image_files.dicom(CHEST, FloatPixelData=bytes(4 * CHEST.size)), "unsupported"
        ),
        "deflated and huge.dcm": Odd(
            image_files.dicom(
                CHEST, Rows=60_000, Columns=60_000, PixelData=bytes(64 << 20), **deflated
            ),
            "too large",
        ),
        "cut in its header.dcm": Odd(data[:200], "not an image"),
        "cut in its pixels.dcm": Odd(data[:-2000], "truncated", WARNING),
        "more rows than pixels.dcm": Odd(
            image_files.dicom(CHEST, Rows=2 * HEIGHT), "truncated", WARNING
        ),
        "no number of rows.dcm": Odd(image_files.dicom(CHEST, Rows=None), "damaged"),
        "flipped bits in the JPEG inside.dcm": Odd(broken, "damaged", WARNING),
    }


def _read_test_file(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()
