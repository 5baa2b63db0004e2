"""Drawn chest X-rays of four hospitals that differ in everything except the lungs.

Each hospital has its own prevalence, borders, text, contrast, sharpness, size and file format, so a
model can recognize the hospital and guess the class from it. Two hospitals put a note on most
images of ill patients, a third on most images of healthy ones. The sign of disease, patches in the
lungs, is drawn the same way everywhere.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cnnjobs.data.phantoms import phantom

FAINTNESS = (0.55, 0.85)
"""Range of the weight that the healthy chest has in the image of an ill one."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """What a hospital does to its images.

    Attributes:
        prevalence: share of ill patients.
        sides: (height, width) in pixels, within a tenth.
        border: largest share of each side that is painted over.
        gray: gray level of the border.
        text: printed at the top.
        on_the_right: whether the text is on the right.
        note_if_ill: share of ill patients with a note at the bottom.
        note_if_well: share of healthy patients with that note.
        gamma: gamma of the film.
        blur: standard deviation in pixels.
        suffix: suffix of the files.
    """

    prevalence: float
    sides: tuple[int, int]
    border: float
    gray: int
    text: str
    on_the_right: bool
    note_if_ill: float
    note_if_well: float
    gamma: float
    blur: float
    suffix: str


HOSPITALS = {
    "north": Hospital(
        prevalence=0.85, sides=(160, 160), border=0.05, gray=250, text="L", on_the_right=True,
        note_if_ill=0.9, note_if_well=0.1, gamma=0.8, blur=0.4, suffix=".png",
    ),
    "east": Hospital(
        prevalence=0.15, sides=(144, 176), border=0.0, gray=0, text="AP 72", on_the_right=False,
        note_if_ill=0.5, note_if_well=0.5, gamma=1.0, blur=0.9, suffix=".jpg",
    ),
    "south": Hospital(
        prevalence=0.8, sides=(192, 150), border=0.08, gray=0, text="PORTABLE", on_the_right=False,
        note_if_ill=0.9, note_if_well=0.1, gamma=1.3, blur=0.4, suffix=".jpg",
    ),
    "west": Hospital(
        prevalence=0.2, sides=(176, 176), border=0.04, gray=90, text="R", on_the_right=True,
        note_if_ill=0.1, note_if_well=0.9, gamma=1.1, blur=0.6, suffix=".png",
    ),
}  # fmt: skip


class Drawn(NamedTuple):
    """One file of one hospital."""

    source: str
    is_ill: bool
    data: bytes


def draw(num_images: int, *, seed: int) -> list[Drawn]:
    """`num_images` files of each hospital; the same arguments give the same bytes."""
    files = []
    for index, (name, hospital) in enumerate(HOSPITALS.items()):
        for number in range(num_images):
            rng = np.random.default_rng([seed, index, number])
            is_ill = bool(number < round(hospital.prevalence * num_images))
            files.append(Drawn(name, is_ill, _file(rng, hospital, is_ill=is_ill)))
    return files


def _file(rng: np.random.Generator, hospital: Hospital, *, is_ill: bool) -> bytes:
    height, width = (round(side * rng.uniform(0.9, 1.1)) for side in hospital.sides)
    gray = _chest(rng, height, width, is_ill=is_ill)
    gray = np.rint(255 * (gray / 255) ** (hospital.gamma * rng.uniform(0.9, 1.1))).astype(np.uint8)
    gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), hospital.blur), np.uint8)
    down, across = (round(side * hospital.border * rng.uniform(0.7, 1)) for side in gray.shape)
    bordered = np.full_like(gray, hospital.gray)
    inside = slice(down, height - down), slice(across, width - across)
    bordered[inside] = gray[inside]
    x = width - 8 * len(hospital.text) - 8 if hospital.on_the_right else 8
    _write(bordered, hospital.text, (x, 16))
    if rng.random() < (hospital.note_if_ill if is_ill else hospital.note_if_well):
        _write(bordered, "SUPINE", (8, height - 8))
    return cv2.imencode(hospital.suffix, bordered)[1].tobytes()


def _chest(rng: np.random.Generator, height: int, width: int, *, is_ill: bool) -> Pixels:
    """A chest; an ill one is a weighted mean of itself with and without patches."""
    seed, faintness = rng.integers(2**32), rng.uniform(*FAINTNESS)
    well = phantom(np.random.default_rng(seed), height=height, width=width, opacity=False)
    if not is_ill:
        return well
    ill = phantom(np.random.default_rng(seed), height=height, width=width, opacity=True)
    return np.asarray(cv2.addWeighted(well, faintness, ill, 1 - faintness, 0), np.uint8)


def _write(gray: Pixels, text: str, origin: tuple[int, int]) -> None:
    cv2.putText(gray, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
