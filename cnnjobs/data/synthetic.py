"""A labelled archive of drawn chest phantoms, for the demo and the tests.

Every image is computed from a seed, without any patient or network. The two classes differ only in
the bright patches inside the lungs of `opacity`. Size, format, exposure and noise are drawn
independently of the class, so an audit for shortcuts has nothing to find.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import cv2
import numpy as np

from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import InputError

CLASSES = ("normal", "opacity")
DRAWING_VERSION = 1  # increase this whenever the same seed gives different pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What `write_archive` wrote; `num_images` does not include the broken files."""

    directory: pathlib.Path
    num_images: int
    num_normal: int
    num_opacity: int
    broken: dict[str, str]  # path relative to the directory -> what is wrong with it


def write_archive(
    directory: str | pathlib.Path, *, num_images: int = 120, num_broken: int = 5, seed: int = 0
) -> ArchiveSummary:
    """Write `num_images` phantoms and `num_broken` broken files into a new directory.

    The same arguments give the same bytes. The directory must be absent or empty, because images of
    an earlier seed would get mixed up with these.
    """
    if num_images < len(CLASSES):
        raise InputError(f"num_images must be at least {len(CLASSES)}, got {num_images}.")
    if num_broken < 0:
        raise InputError(f"num_broken must be at least 0, got {num_broken}.")
    if seed < 0:
        raise InputError(f"seed must be at least 0, got {seed}.")
    root = pathlib.Path(directory)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise InputError(f"{root} must be absent or an empty directory.")
    for name in CLASSES:
        (root / name).mkdir(parents=True)

    # numbers are assigned at random: a name reveals neither class nor damage
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(num_images + num_broken)
    for index, number in enumerate(numbers[:num_images]):
        image_rng = np.random.default_rng([seed, index])
        suffix = ".png" if image_rng.random() < 0.5 else ".jpg"
        name = CLASSES[index % len(CLASSES)]
        content = _encoded(image_rng, opacity=name == "opacity", suffix=suffix)
        (root / name / f"phantom-{number:05d}{suffix}").write_bytes(content)

    broken = {}
    for index, number in enumerate(numbers[num_images:]):
        damage, (suffix, make) = list(_DAMAGES.items())[index % len(_DAMAGES)]
        path = f"{CLASSES[index % len(CLASSES)]}/phantom-{number:05d}{suffix}"
        (root / path).write_bytes(make(np.random.default_rng([seed, num_images + index])))
        broken[path] = damage

    (root / "README.txt").write_text(
        _README.format(version=DRAWING_VERSION, seed=seed), encoding="utf-8"
    )
    return ArchiveSummary(
        directory=root,
        num_images=num_images,
        num_normal=(num_images + 1) // 2,
        num_opacity=num_images // 2,
        broken=broken,
    )


def _encoded(rng: np.random.Generator, *, opacity: bool, suffix: str) -> bytes:
    """One phantom of a drawn size as the bytes of a PNG or JPEG file."""
    short, ratio = rng.uniform(240, 430), rng.uniform(1.0, 1.22)
    if rng.random() < 0.08:
        short *= rng.uniform(1.4, 1.9)
    sides = (round(short), round(short * ratio))
    height, width = sides if rng.random() < 0.4 else sides[::-1]
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 97))]
    image = phantom(rng, height=height, width=width, opacity=opacity)
    return cv2.imencode(suffix, image, options)[1].tobytes()


def _half(rng: np.random.Generator, suffix: str) -> bytes:
    content = _encoded(rng, opacity=bool(rng.integers(2)), suffix=suffix)
    return content[: len(content) // 2]


_DAMAGES: dict[str, tuple[str, Callable[[np.random.Generator], bytes]]] = {
    "zero bytes": (".png", lambda _: b""),
    "text named .png": (".png", lambda _: b"This is text, not an image.\n"),
    "PNG cut in half": (".png", lambda rng: _half(rng, ".png")),
    "JPEG cut in half": (".jpg", lambda rng: _half(rng, ".jpg")),
    "random bytes named .jpg": (".jpg", lambda rng: rng.bytes(4096)),
}

_README = """\
These are synthetic drawings, not patients.

Every image was computed by cnnjobs (cnnjobs/data/synthetic.py); none shows a person and
none is fit for any medical use. `opacity` has bright patches inside the lungs,
`normal` has none. Some files may be broken on purpose.

drawing version: {version}
seed: {seed}
"""
