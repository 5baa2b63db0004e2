"""Images a second by kind of file, what scaled decoding does to pixels, and damage noticed.

    python -m benchmarks decode [FOLDER]

Drawings of `cnnjobs.data.synthetic`, and with FOLDER the PNG files below it (X-rays, say), as
JPEGs of quality 90, for a model of 256 x 256 pixels. Takes about a minute.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cnnjobs.data.synthetic import phantom
from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing as images

FULL = images.Preprocessing(height=256, width=256)
SCALED = dataclasses.replace(FULL, scaled_jpeg=True)
QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 90]

#: Seconds that one kind of file is decoded for.
SECONDS = 3


def drawings(num_images: int, *, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Chest phantoms, half of them with an opacity."""
    for seed in range(num_images):
        rng = np.random.default_rng(seed)
        yield phantom(rng, height=height, width=width, opacity=seed % 2 == 1)


def difference(gray: NDArray[np.uint8]) -> tuple[float, int]:
    """Mean and largest difference in gray levels between a scaled and a full decode."""
    data = cv2.imencode(".jpg", gray, QUALITY)[1].tobytes()
    full, scaled = (images.decode(data, how).pixels.astype(int) for how in (FULL, SCALED))
    apart = np.abs(full - scaled)
    return float(apart.mean()), int(apart.max())


def images_per_second(data: bytes, preprocessing: images.Preprocessing) -> float:
    """How often one file is decoded in a second."""
    images.decode(data, preprocessing)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + SECONDS:
        images.decode(data, preprocessing)
        count += 1
    return count / (time.perf_counter() - start)


def _print_speed() -> None:
    print(f"{'file':<12}{'PNG':>8}{'JPEG':>8}{'scaled':>8}   images/s on one core")
    for side in (1024, 2048):
        (gray,) = drawings(1, height=side, width=side)
        png = cv2.imencode(".png", gray)[1].tobytes()
        jpeg = cv2.imencode(".jpg", gray, QUALITY)[1].tobytes()
        runs = (png, FULL), (jpeg, FULL), (jpeg, SCALED)
        speeds = "".join(f"{images_per_second(*run):>8.0f}" for run in runs)
        print(f"{side} x {side:<5}{speeds}")


def _print_differences(name: str, pictures: Iterator[NDArray[np.uint8]]) -> None:
    means, largest = zip(*(difference(gray) for gray in pictures), strict=True)
    print(f"{name:<44}{np.mean(means):>8.2f}{max(means):>8.2f}{max(largest):>8}")


def share_noticed(data: bytes, damage: Callable[[bytes, int], bytes]) -> float:
    """The share of 200 damages, spread over a JPEG's scans, that end as an error."""
    start = data.index(b"\xff\xda") + 12
    noticed = 0
    for place in np.linspace(start, len(data) - 60, 200).astype(int):
        try:
            images.decode(damage(data, int(place)), FULL)
        except ImageError:
            noticed += 1
    return noticed / 200


def _bytes_changed(number: int) -> Callable[[bytes, int], bytes]:
    rng = np.random.default_rng(0)
    return lambda data, place: data[:place] + rng.bytes(number) + data[place + number :]


#: Names of damages, and what they make of a file at a place.
DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "one bit": lambda data, place: data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :],
    "4 bytes": _bytes_changed(4),
    "50 bytes": _bytes_changed(50),
    "50 lost": lambda data, place: data[:place] + data[place + 50 :],
    "cut": lambda data, place: data[:place],
}


def _print_damages() -> None:
    print(f"\n{'share of damages noticed':<26}" + "".join(f"{name:>10}" for name in DAMAGES))
    (gray,) = drawings(1, height=512, width=512)
    options = {
        "baseline": [],
        "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 64],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    }
    for name, its_options in options.items():
        data = cv2.imencode(".jpg", gray, [*QUALITY, *its_options])[1].tobytes()
        shares = (share_noticed(data, damage) for damage in DAMAGES.values())
        print(f"{name:<26}" + "".join(f"{share:>10.2f}" for share in shares))


def _files(folder: Path, factor: int) -> Iterator[NDArray[np.uint8]]:
    for path in sorted(folder.rglob("*.png")):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        size = gray.shape[1] * factor, gray.shape[0] * factor
        yield cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else gray


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    folder = parser.parse_args().folder
    cv2.setNumThreads(1)
    _print_speed()
    print(f"\n{'scaled against full decode, gray levels':<44}{'mean':>8}{'of one':>8}{'most':>8}")
    for height, width in ((1024, 1024), (1100, 1300), (2048, 2048), (2300, 1900), (3100, 2500)):
        name = f"20 drawings of {width} x {height}"
        _print_differences(name, drawings(20, height=height, width=width))
    if folder is not None:
        for factor in (1, 2, 4):
            enlarged = f", enlarged {factor} times" if factor > 1 else ""
            _print_differences(f"the files in {folder.name}{enlarged}", _files(folder, factor))
    _print_damages()


if __name__ == "__main__":
    main()
