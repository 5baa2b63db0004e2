"""Decoding: images per second by file type, error of scaled decoding, damage detected.

Measured on drawings of `cnnjobs.data.synthetic` and on the PNG files of a folder, encoded as JPEG
at quality 90, for a model of 256 x 256 pixels. Takes about a minute.
"""

import dataclasses
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ImageError
from cnnjobs.imaging.preprocessing import Preprocessing, decode

FULL = Preprocessing(height=256, width=256)
SCALED = dataclasses.replace(FULL, scaled_jpeg=True)
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 90]

#: Seconds that one kind of file is decoded for.
SECONDS = 3


def drawings(num_images: int, *, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Chest phantoms; every second one has an opacity."""
    for seed in range(num_images):
        rng = np.random.default_rng(seed)
        yield phantom(rng, height=height, width=width, opacity=seed % 2 == 1)


def difference(gray: NDArray[np.uint8]) -> tuple[float, int]:
    """Mean and largest difference in gray levels between scaled and full decoding."""
    data = cv2.imencode(".jpg", gray, QUALITY)[1].tobytes()
    full, scaled = (decode(data, how).pixels.astype(int) for how in (FULL, SCALED))
    apart = np.abs(full - scaled)
    return float(apart.mean()), int(apart.max())


def images_per_second(data: bytes, preprocessing: Preprocessing) -> float:
    """How often a file is decoded per second."""
    decode(data, preprocessing)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + SECONDS:
        decode(data, preprocessing)
        count += 1
    return count / (time.perf_counter() - start)


def _print_speed() -> None:
    kinds = "".join(f"{name:>10}" for name in ("PNG, Sub", "adaptive", "JPEG", "scaled"))
    print(f"{'file':<12}{kinds}   images/s on one core")
    for side in (1024, 2048):
        (gray,) = drawings(1, height=side, width=side)
        png = cv2.imencode(".png", gray)[1].tobytes()
        # Pillow chooses the filter of each row
        Image.fromarray(gray).save(adaptive := io.BytesIO(), "png")
        jpeg = cv2.imencode(".jpg", gray, QUALITY)[1].tobytes()
        runs = (png, FULL), (adaptive.getvalue(), FULL), (jpeg, FULL), (jpeg, SCALED)
        speeds = "".join(f"{images_per_second(*run):>10.0f}" for run in runs)
        print(f"{side} x {side:<5}{speeds}")


def _print_differences(name: str, pictures: Iterator[NDArray[np.uint8]]) -> None:
    means, largest = zip(*(difference(gray) for gray in pictures), strict=True)
    print(f"{name:<44}{np.mean(means):>8.2f}{max(means):>8.2f}{max(largest):>8}")


def share_detected(data: bytes, damage: Callable[[bytes, int], bytes]) -> float:
    """Share of 200 damages spread over the scans of a JPEG that raise an error."""
    start = data.index(b"\xff\xda") + 12
    detected = 0
    for offset in np.linspace(start, len(data) - 60, 200).astype(int):
        try:
            decode(damage(data, int(offset)), FULL)
        except ImageError:
            detected += 1
    return detected / 200


def _bytes_changed(number: int) -> Callable[[bytes, int], bytes]:
    rng = np.random.default_rng(0)
    return lambda data, at: data[:at] + rng.bytes(number) + data[at + number :]


#: Kinds of damage, and the function that applies each at an offset.
DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "one bit": lambda data, at: data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :],
    "4 bytes": _bytes_changed(4),
    "50 bytes": _bytes_changed(50),
    "50 lost": lambda data, at: data[:at] + data[at + 50 :],
    "cut": lambda data, at: data[:at],
}


def _print_damages() -> None:
    print(f"\n{'share of damage detected':<26}" + "".join(f"{name:>10}" for name in DAMAGES))
    (gray,) = drawings(1, height=512, width=512)
    options = {
        "baseline": [],
        "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 64],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    }
    for name, encoding in options.items():
        data = cv2.imencode(".jpg", gray, [*QUALITY, *encoding])[1].tobytes()
        shares = (share_detected(data, damage) for damage in DAMAGES.values())
        print(f"{name:<26}" + "".join(f"{share:>10.2f}" for share in shares))


def _files(folder: Path, factor: int) -> Iterator[NDArray[np.uint8]]:
    for path in sorted(folder.rglob("*.png")):
        gray = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        size = gray.shape[1] * factor, gray.shape[0] * factor
        if factor > 1:
            gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        yield gray


def print_all(folder: Path | None) -> None:
    """Print the three tables; the second also covers the PNG files of `folder`."""
    cv2.setNumThreads(1)
    _print_speed()
    print(f"\n{'scaled vs full decoding, gray levels':<44}{'mean':>8}{'worst':>8}{'max':>8}")
    for height, width in ((1024, 1024), (1100, 1300), (2048, 2048), (2300, 1900), (3100, 2500)):
        name = f"20 drawings of {width} x {height}"
        _print_differences(name, drawings(20, height=height, width=width))
    if folder is not None:
        for factor in (1, 2, 4):
            enlarged = f", enlarged {factor} times" if factor > 1 else ""
            _print_differences(f"the files in {folder.name}{enlarged}", _files(folder, factor))
    _print_damages()
