"""Headers that state more pixels than anyone should allocate."""

import struct

import cv2

from tests.support import image_files
from tests.support.corpus.base import BOMB, CHEST, COLOR, Odd, by_pillow, encoded
from tests.support.corpus.others import tiled
from tests.support.image_files import png_header, tiff


def bombs():
    jpeg = bytearray(encoded(".jpg", CHEST))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", BOMB, BOMB)
    bmp = bytearray(encoded(".bmp", CHEST))
    bmp[18:26] = struct.pack("<ii", BOMB, BOMB)
    webp = bytearray(encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 101))
    webp[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    big = bytearray(by_pillow("TIFF", CHEST, big_tiff=True))
    start = struct.unpack_from("<Q", big, 8)[0] + 8
    for entry in (start, start + 20):
        struct.pack_into("<HHQQ", big, entry, struct.unpack_from("<H", big, entry)[0], 4, 1, BOMB)
    bombs = {
        "a bomb.png": png_header(BOMB, BOMB) + image_files.png(CHEST)[33:],
        "a long bomb.png": png_header(2**30, 1) + image_files.png(CHEST)[33:],
        "a bomb.jpg": bytes(jpeg),
        "a bomb.bmp": bytes(bmp),
        "a bomb.webp": bytes(webp),
        "a bomb.tif": tiff(CHEST, size=(BOMB, BOMB)),
        "a bomb in tiles.tif": tiled(sides=(BOMB, BOMB)),
        "a bomb in BigTIFF.tif": bytes(big),
        "a bomb.dcm": image_files.dicom(CHEST, Rows=BOMB, Columns=BOMB),
    }
    return {name: Odd(data, "too large") for name, data in bombs.items()}
