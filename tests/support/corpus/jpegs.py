"""JPEG."""

import io
import struct

import cv2
import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from tests.support.corpus.base import (
    CHEST,
    COLOR,
    WARNING,
    Odd,
    by_pillow,
    encoded,
    flipped,
    segment,
)
from tests.support.image_files import exif


def jpegs():
    data = encoded(".jpg", CHEST)
    four = Image.fromarray(COLOR).convert("CMYK")
    cmyk = io.BytesIO()
    four.save(cmyk, "JPEG", quality=95)
    thumbnail = encoded(".jpg", CHEST[::4, ::4])
    two = by_pillow("MPO", COLOR, save_all=True, append_images=[Image.fromarray(255 - COLOR)])
    sound = {
        "RGB.jpg": encoded(".jpg", COLOR),
        "RGB not converted.jpg": by_pillow("JPEG", COLOR, keep_rgb=True),
        "progressive.jpg": encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "restart markers.jpg": encoded(".jpg", CHEST, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "CMYK.jpg": cmyk.getvalue(),
        "YCCK.jpg": _as_ycck(cmyk.getvalue()),
        "4-1-1 sampling.jpg": encoded(
            ".jpg", COLOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411
        ),
        "arithmetic.jpg": _arithmetic(),
        "lossless.jpg": _frame_of("SC_rgb_jpeg_gdcm.dcm"),
        "two images.jpg": two,
        "a thumbnail in it.jpg": _with_exif(exif(1, thumbnail=thumbnail)),
        "text after the end.jpg": data + b"text",
        "padded with zeros.jpg": data + bytes(4096),
        "fill bytes before a marker.jpg": data[:2] + b"\xff\xff\xff" + data[2:],
        "broken EXIF.jpg": _with_exif(b"II*\0\xff\xff\xff\xff"),
        "EXIF cut off.jpg": data[:2] + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09") + data[2:],
        "a long comment.jpg": data[:2] + segment(0xFE, bytes(65_000)) * 20 + data[2:],
        **{f"EXIF orientation {n}.jpg": _with_exif(exif(n), _stored(n)) for n in range(1, 9)},
    }
    frame = data.index(b"\xff\xc0")
    return {
        **{name: Odd(file) for name, file in sound.items()},
        "a broken color profile.jpg": Odd(
            data[:2] + segment(0xE2, b"ICC_PROFILE\0\2\1broken") + data[2:], WARNING
        ),
        "an unknown JFIF.jpg": Odd(data.replace(b"JFIF\0\1", b"JFIF\0\7"), WARNING),
        "unusual sampling.jpg": Odd(_unusual_sampling(), WARNING),
        "12 bits.jpg": Odd(_frame_of("JPGExtended.dcm"), "unsupported"),
        "hierarchical.jpg": Odd(data[: frame + 1] + b"\xc5" + data[frame + 2 :], "unsupported"),
        "height left for later.jpg": Odd(
            data[: frame + 5] + b"\0\0" + data[frame + 7 :], "damaged"
        ),
        "a thousand scans.jpg": Odd(_many_scans(), "unsupported"),
    }


def damaged_jpegs():
    data = encoded(".jpg", CHEST)
    scan = data.index(b"\xff\xda")
    inside = len(data) - scan
    progressive = encoded(".jpg", CHEST, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    with_thumbnail = _with_exif(exif(1, thumbnail=encoded(".jpg", CHEST[::4, ::4])))
    restarts = encoded(".jpg", CHEST, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    cuts = {
        f"cut at {share} %.jpg": Odd(
            data[: scan + 10 + inside * share // 100], "truncated", WARNING
        )
        for share in (10, 30, 50, 70, 90)
    }
    return {
        **cuts,
        "cut in the header.jpg": Odd(data[:100], "truncated"),
        "cut right before its end.jpg": Odd(data[:-2], "truncated", WARNING),
        "progressive and cut.jpg": Odd(progressive[: len(progressive) // 2], "truncated", WARNING),
        "cut, but for its thumbnail.jpg": Odd(with_thumbnail[:-400], "truncated", WARNING),
        "cut, and an end put on it.jpg": Odd(
            data[: scan + inside // 2] + b"\xff\xd9", "damaged", WARNING
        ),
        "zeros for the second half.jpg": Odd(
            data[: scan + inside // 2] + bytes(inside // 2), "truncated", WARNING
        ),
        "flipped bits in the scan.jpg": Odd(flipped(data, scan + 400, 30), "damaged", WARNING),
        "flipped bits in a progressive scan.jpg": Odd(
            flipped(progressive, len(progressive) - 500, 30), "damaged", WARNING
        ),
        "flipped bits between restarts.jpg": Odd(
            flipped(restarts, restarts.index(b"\xff\xda") + 450, 20), "damaged", WARNING
        ),
        "a piece lost from the scan.jpg": Odd(
            data[: scan + 300] + data[scan + 400 :], "damaged", WARNING
        ),
        "a marker in the scan.jpg": Odd(
            data[: scan + 300] + b"\xff\xc0" + data[scan + 302 :], "damaged", WARNING
        ),
        "no tables.jpg": Odd(data[:20] + data[data.index(b"\xff\xc0") :], "damaged"),
        "an end and no pixels.jpg": Odd(data[:20] + b"\xff\xd9", "damaged"),
    }


def _with_exif(block, pixels=CHEST):
    blocks = [np.frombuffer(block, np.uint8)]
    return cv2.imencodeWithMetadata(".jpg", pixels, [cv2.IMAGE_METADATA_EXIF], blocks)[1].tobytes()


def _stored(orientation):
    """Return the chest as it is stored for an EXIF orientation to set upright."""
    turned = CHEST.T if orientation >= 5 else CHEST
    mirrored = {2: "x", 3: "xy", 4: "y", 6: "y", 7: "xy", 8: "x"}.get(orientation, "")
    turned = turned[:, ::-1] if "x" in mirrored else turned
    return np.ascontiguousarray(turned[::-1] if "y" in mirrored else turned)


def _frame_of(name):
    dataset = pydicom.dcmread(get_testdata_file(name, download=False))
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _arithmetic():
    """Return an arithmetic-coded JPEG of 8 x 8 pixels; an empty scan means zeros."""
    table = segment(0xDB, b"\0" + bytes([1] * 64))
    frame = segment(0xC9, struct.pack(">BHHBBBB", 8, 8, 8, 1, 1, 0x11, 0))
    return b"\xff\xd8" + table + frame + segment(0xDA, b"\1\1\0\0\x3f\0") + b"\xff\xd9"


def _as_ycck(cmyk):
    """Return a CMYK file that says it is YCCK: the same size, another picture."""
    data = bytearray(cmyk)
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def _unusual_sampling():
    """Return a JPEG of blocks Y, Cb, Cb, Cr, which were Y, Y, Cb, Cr."""
    options = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422
    data = bytearray(encoded(".jpg", COLOR, *options))
    frame = data.index(b"\xff\xc0")
    data[frame + 11], data[frame + 14] = 0x11, 0x21
    return bytes(data)


def _many_scans():
    data = encoded(".jpg", CHEST, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = data.index(b"\xff\xda")
    return data[:start] + data[start : data.index(b"\xff\xc4", start)] * 1000 + b"\xff\xd9"
