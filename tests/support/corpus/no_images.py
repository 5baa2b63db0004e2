"""What is no image, or not one that is read; and odd names."""

import gzip
import io
import struct
import zipfile

import numpy as np

from tests.support import image_files
from tests.support.corpus.base import CHEST, Odd, by_pillow, encoded
from tests.support.image_files import tiff


def no_images():
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("chest.png", b"not in here")
    array = io.BytesIO()
    np.save(array, CHEST)
    no_image = {
        "one byte.png": b"\x89",
        "text.png": b"This is a text.\n",
        "an error page.jpg": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
        "an error of S3.png": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "a zip archive.png": zipped.getvalue(),
        "gzip data.png": gzip.compress(image_files.png(CHEST)),
        "a PDF document.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "a NumPy array.png": array.getvalue(),
        "an SVG drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "a Git LFS pointer.png": b"version https://git-lfs.github.com/spec/v1\nsize 12345\n",
        "zeros only.png": bytes(5000),
        "random bytes.jpg": np.random.default_rng(0).bytes(5000),
    }
    other_image = {
        "a GIF.png": by_pillow("GIF", CHEST),
        "a JPEG 2000.jpg": by_pillow("JPEG2000", CHEST),
        "an AVIF.jpg": by_pillow("AVIF", CHEST),
        "a HEIC header.jpg": struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(100),
        "a portable graymap.png": by_pillow("PPM", CHEST),
        "a float map.tif": b"Pf\n96 72\n-1.0\n" + CHEST.astype("<f4").tobytes(),
        "Radiance HDR.png": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 72 +X 96\n" + bytes(100),
    }
    return {
        "no bytes.png": Odd(b"", "empty"),
        **{name: Odd(data, "not an image") for name, data in no_image.items()},
        **{name: Odd(data, "unsupported") for name, data in other_image.items()},
    }


def names():
    data = image_files.png(CHEST)
    names = (
        "  spaces  in a name .png",
        "a new\nline.png",
        "Röntgen 胸部 🫁.png",
        "100% %41%2F.png",
        "'quotes' \"and\" $HOME `back` \\.png",
        "-o --help.png",
        "l" + "o" * 246 + "ng.png",
        "UPPER.PNG",
    )
    return {
        **{name: Odd(data) for name in names},
        "a JPEG.png": Odd(encoded(".jpg", CHEST)),
        "a PNG.jpg": Odd(data),
        "a DICOM.png": Odd(image_files.dicom(CHEST)),
        "a TIFF.dcm": Odd(tiff(CHEST)),
    }
