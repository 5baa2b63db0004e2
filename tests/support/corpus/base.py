"""What the files of the corpus are made of."""

import io
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from cnnjobs.data.phantoms import phantom

SOUND, WARNING, ABSENT = "sound", "warning", "absent"

HEIGHT, WIDTH = 72, 96
CHEST = phantom(np.random.default_rng(5), height=HEIGHT, width=WIDTH, opacity=True)
COLOR = np.dstack([CHEST] * 3)

#: Sides that no header of the corpus may make anyone allocate.
BOMB = 60_000


class Odd(NamedTuple):
    """One file and what becomes of it; `kept` is None if that does not depend on the setting."""

    data: bytes
    outcome: str = SOUND
    kept: str | None = None


def encoded(suffix, pixels, *options):
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def by_pillow(kind, pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def flipped(data, start, num_bytes):
    """Flip the lowest two bits of some bytes."""
    changed = bytearray(data)
    for place in range(start, start + num_bytes):
        changed[place] ^= 3
    return bytes(changed)


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
