"""No file, however it is made, takes more memory than an image may."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.errors import ImageError
from cnnjobs.imaging import headers, preprocessing, statistics
from tests.support import hostile_files, image_files
from tests.support.corpus import CHEST

MANY = 200_000_000
SIDE = 14_142

#: Decodes a file in a process of its own; prints what became of it and the KiB that it took.
CHILD = """
import resource, sys
from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing, reading
reading.prepare_process()
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    small = preprocessing.Preprocessing(height=8, width=8)
    done = preprocessing.decode(data, small, any_modality=True)
    found = f"{done.width} x {done.height}"
except ImageError as error:
    found = error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, found)
"""


def _taken(tmp_path, data):
    """Return the MB that decoding takes, and what became of the file."""
    file = tmp_path / "file"
    file.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(file)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    taken, _, found = done.stdout.strip().partition(" ")
    return int(taken) / 1000, found


def _error(data, max_pixels=MANY):
    with pytest.raises(ImageError) as caught:
        preprocessing.read(data, max_pixels=max_pixels, any_modality=True)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_200_megapixels_of_color_and_alpha_of_16_bits_take_a_gigabyte_and_a_half(tmp_path, kind):
    if kind == "PNG":
        data = hostile_files.png_of_zeros(SIDE, SIDE, depth=16, color=image_files.RGBA)
    else:
        body = hostile_files.zeros(SIDE * SIDE * 8)
        data = hostile_files.tiff_of_strips(
            SIDE, SIDE, body, bits=16, samples=4, tags={338: (3, [2])}
        )
    taken, found = _taken(tmp_path, data)
    assert found == f"{SIDE} x {SIDE}"
    assert taken < 1500


def test_a_png_whose_stream_goes_on_after_its_pixels_takes_no_more_memory(tmp_path):
    taken, found = _taken(tmp_path, hostile_files.png_of_zeros(96, 72, more=1 << 28))
    assert found == "96 x 72"
    assert taken < 100


def test_the_header_of_a_file_whose_tags_share_their_bytes_takes_no_memory(tmp_path):
    tags = {number: (1, [0]) for number in range(1000, 1900)}
    data = bytearray(image_files.tiff(CHEST, tags=tags))
    entry = bytes([1000 % 256, 1000 // 256, 1, 0])
    assert entry in data
    found = headers.read(bytes(data))
    assert (found.format, found.bits, found.color) == ("tiff", 8, "gray")


def test_a_strip_that_is_inflated_beyond_its_rows_is_damaged():
    data = hostile_files.tiff_of_strips(96, 72, zlib.compress(bytes(1 << 20)))
    assert _error(data) == "damaged: a strip of the TIFF has no end"


def test_a_large_strip_that_only_libtiff_decodes_is_refused():
    tags = {259: (3, [5])}
    data = hostile_files.tiff_of_strips(SIDE, SIDE, b"\x80\0", samples=3, tags=tags)
    message = "too large: a strip or tiles of 599988492 bytes, 536870912 are allowed"
    assert _error(data) == message


def test_a_jpeg_of_many_segments_is_refused():
    data = cv2.imencode(".jpg", CHEST)[1].tobytes()
    many = data[:2] + b"\xff\xfe\0\x02" * 20_000 + data[2:]
    assert _error(many) == "too large: a JPEG of more than 10000 segments"
    filled = data[:2] + b"\xff" * 20_000 + data[2:]
    assert _error(filled) == "too large: a JPEG of more than 10000 segments"


def test_scans_of_many_pixels_are_counted():
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = bytearray(cv2.imencode(".jpg", CHEST, progressive)[1].tobytes())
    data = bytearray(hostile_files.jpeg_of_scans(bytes(data), 5))
    place = data.index(b"\xff\xc2") + 5
    data[place : place + 4] = b"\x37\x00\x37\x00"
    assert _error(bytes(data)).startswith("too large: 14080 x 14080 pixels in ")


def test_a_png_of_many_chunks_is_refused():
    png = image_files.png(CHEST)
    many = png[:33] + image_files.chunk(b"IDAT") * 70_000 + png[33:]
    assert _error(many).startswith("too large: a PNG of more than 66")


def test_a_webp_of_many_chunks_is_refused():
    data = bytearray(cv2.imencode(".webp", np.dstack([CHEST] * 3))[1].tobytes())
    data += b"JUNK\0\0\0\0" * 20_000
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    assert _error(bytes(data)) == "too large: a WebP of more than 10000 chunks"


@pytest.mark.parametrize("name", ["WindowCenter", "RescaleSlope", "NumberOfFrames"])
def test_a_dicom_file_of_many_numbers_in_one_value_is_refused(name):
    data = image_files.dicom(CHEST, **{name: ["1"] * 30_000})
    message = "too large: a DICOM file with a value of 60000 bytes, 4096 are allowed"
    assert _error(data) == message


def test_a_dicom_file_of_many_fragments_is_refused():
    jpeg = cv2.imencode(".jpg", CHEST)[1].tobytes()
    syntax = "1.2.840.10008.1.2.4.50"
    data = image_files.dicom(CHEST, syntax=syntax, frames=[jpeg])
    fragment = bytes.fromhex("feff00e000000000")
    place = data.rindex(bytes.fromhex("feffdde0"))
    many = data[:place] + fragment * 150_000 + data[place:]
    assert _error(many) == "too large: a DICOM file of more than 100000 elements or fragments"


def test_run_lengths_of_a_dicom_file_that_become_more_than_its_pixels_are_damaged():
    runs = b"\x81\0" * 100_000
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    data = image_files.dicom(CHEST, syntax="1.2.840.10008.1.2.5", frames=[header + runs])
    assert _error(data) == "damaged: a DICOM file: its run lengths have too many pixels"


@pytest.mark.parametrize("shape", [(72, 96), (1, 1), (700, 33)])
@pytest.mark.parametrize("kind", ["8 bits", "10 bits"])
def test_counting_gray_levels_agrees_with_numpy(shape, kind):
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 1024 if kind == "10 bits" else 256, shape)
    gray = gray.astype(np.uint16 if kind == "10 bits" else np.uint8)
    found = statistics.levels(gray)
    assert (found.min, found.max) == (gray.min(), gray.max())
    assert found.mean == pytest.approx(gray.mean())
    assert found.sd == pytest.approx(gray.std())
