"""Drawings of frontal chest X-rays, computed from a random generator.

The two classes differ only in the bright patches inside the lungs of `opacity`.
"""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnjobs.errors import InputError

PATCH_LIMIT = 1.2  # density, where tissue is 0.62; at 0.75 five epochs learn too little
MIN_SIDE = 32  # px; below this, ribs and patches fall between the pixels

Field = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]


def phantom(rng: np.random.Generator, *, height: int, width: int, opacity: bool) -> Pixels:
    """One frontal chest phantom: (height, width) uint8, dense tissue bright.

    Both classes draw equally from the generator, so one seed gives the same chest with and without
    patches.
    """
    for name, side in (("height", height), ("width", width)):
        if side < MIN_SIDE:
            raise InputError(f"{name} must be at least {MIN_SIDE}, got {side}.")
    # anatomy is smooth: drawing at up to 256 px and enlarging takes 0.45 of the time at 400 px
    shrink = min(1.0, 256 / max(height, width))
    x, y = _chest_coordinates(rng, round(height * shrink), round(width * shrink))
    lungs, diaphragm = _lungs(rng, x, y)
    density: Field = _soft_tissue(rng, x, y, lungs, diaphragm) + _bones(rng, x, y, lungs)
    density += _vessels(rng, x, y) * lungs
    # film saturates: spine and heart on top of tissue must not look like a patch
    density = density - 0.6 * np.clip(density - 0.62, 0, None)
    patches = _patches(rng, x, y, lungs)
    if opacity:
        density += patches
    density = _blurred(density, rng.uniform(0.4, 1.2))
    full = cv2.resize(density, (width, height), interpolation=cv2.INTER_CUBIC)
    return _exposed(rng, np.asarray(full))


def _chest_coordinates(rng: np.random.Generator, height: int, width: int) -> tuple[Field, Field]:
    """X and y of every pixel, each (height, width), in the coordinates of one chest.

    The chest spans about -1 to 1 in both directions; x grows to the patient's left, y to the feet.
    """
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    rows = np.linspace(-1, 1, height, dtype=np.float32)
    u, v = np.meshgrid(columns - rng.uniform(-0.05, 0.05), rows - rng.uniform(-0.05, 0.05))
    angle = math.radians(rng.uniform(-4, 4))
    x = (u * math.cos(angle) + v * math.sin(angle)) * rng.uniform(0.95, 1.07)
    y = (v * math.cos(angle) - u * math.sin(angle)) * rng.uniform(0.95, 1.07)
    bend_x, bend_y, turn_x, turn_y = rng.uniform(-1, 1, 4).tolist()
    return (
        x + 0.03 * np.sin(2.5 * y + 3 * turn_x) + 0.03 * bend_x * y * y,
        y + 0.03 * np.sin(2.5 * x + 3 * turn_y) + 0.03 * bend_y * x,
    )


def _lungs(rng: np.random.Generator, x: Field, y: Field) -> tuple[Field, Field]:
    """How much of each pixel is lung, and is above the diaphragm, both 0 to 1."""
    lungs = np.zeros_like(x)
    above = np.zeros_like(x)
    apex = rng.uniform(-0.85, -0.68)
    base = rng.uniform(0.38, 0.62)
    for side in (-1, 1):
        across = side * x
        outer = rng.uniform(0.68, 0.82)
        inner = rng.uniform(0.08, 0.15)
        top = apex + rng.uniform(-0.04, 0.04)
        floor = base + side * rng.uniform(0, 0.06)  # the liver lifts the patient's right side
        # the chest wall: a quarter of a superellipse from the apex down, then nearly vertical
        fall = np.clip((y - top) / rng.uniform(0.85, 1.35), 0, 1)
        power = rng.uniform(1.8, 2.3)
        wall = 0.18 + (outer - 0.18) * (1 - (1 - fall) ** power) ** (1 / power)
        wall += rng.uniform(-0.05, 0.08) * np.clip(y, 0, 1)
        mediastinum = inner + rng.uniform(0.0, 0.12) * np.clip(y - top, 0, 2) ** 2 / 2
        dome = floor + rng.uniform(0.7, 1.5) * (across - rng.uniform(0.28, 0.4)) ** 2
        above_dome = _step(dome - y, 0.018) * (across > 0)
        within = _step(wall - across, 0.02) * _step(across - mediastinum, 0.025)
        lungs += within * above_dome * _step(y - top, 0.025)
        above += above_dome
    return lungs, above


def _soft_tissue(
    rng: np.random.Generator, x: Field, y: Field, lungs: Field, diaphragm: Field
) -> Field:
    """The density of body, lungs, heart, great vessels and belly."""
    shoulder = rng.uniform(-0.95, -0.8) + rng.uniform(0.25, 0.6) * np.clip(np.abs(x) - 0.3, 0, 2)
    flank = rng.uniform(0.92, 1.1) + 0.15 * _step(-0.35 - y, 0.1)
    neck = _step(rng.uniform(0.2, 0.3) - np.abs(x), 0.03)
    body = np.maximum(_step(y - shoulder, 0.03), neck) * _step(flank - np.abs(x), 0.03)
    density: Field = 0.62 * body - rng.uniform(0.42, 0.5) * lungs
    density += rng.uniform(0.0, 0.1) * (1 - diaphragm) * _step(y - 0.3, 0.05)

    heart = _blob(
        x,
        y,
        (rng.uniform(0.1, 0.2), rng.uniform(0.22, 0.36)),
        (rng.uniform(0.26, 0.36), rng.uniform(0.2, 0.28)),
        rng.uniform(0.3, 0.8),
    )
    density += rng.uniform(0.36, 0.46) * _step(1 - heart, 0.1) * (0.12 + 0.88 * lungs)
    knob = _blob(x, y, (rng.uniform(0.1, 0.15), rng.uniform(-0.35, -0.22)), (0.11, 0.12), 0)
    density += rng.uniform(0.2, 0.4) * _step(1 - knob, 0.2) * (0.1 + 0.9 * lungs)
    trachea = _step(0.045 - np.abs(x - rng.uniform(-0.03, 0.02)), 0.015)
    density -= rng.uniform(0.06, 0.14) * trachea * _step(-0.2 - y, 0.05)
    for side in (-1, 1):
        hilum = _blob(x, y, (side * 0.2, rng.uniform(-0.12, 0.06)), (0.1, 0.14), 0)
        density += rng.uniform(0.08, 0.18) * np.exp(-hilum)
        breast = _blob(x, y, (side * rng.uniform(0.4, 0.55), 0.2), (0.34, 0.32), 0)
        density += max(0.0, rng.uniform(-0.06, 0.08)) * _step(1 - breast, 0.1)
    bubble = _blob(x, y, (rng.uniform(0.3, 0.5), rng.uniform(0.75, 0.9)), (0.16, 0.09), 0)
    density -= max(0.0, rng.uniform(-0.2, 0.2)) * _step(1 - bubble, 0.15)
    # an uneven beam: a tilt and a bowl over the whole field
    tilt_x, tilt_y, bowl = rng.uniform(-1, 1, 3).tolist()
    density += body * (0.07 * (tilt_x * x + tilt_y * y) + 0.05 * bowl * x * x)
    return density


def _bones(rng: np.random.Generator, x: Field, y: Field, lungs: Field) -> Field:
    """What spine, ribs, clavicles and shoulder blades add to the density."""
    vertebrae = 0.75 + 0.25 * np.cos(2 * np.pi * (y / rng.uniform(0.15, 0.2) + rng.random()))
    bones: Field = (
        rng.uniform(0.04, 0.09) * vertebrae * _step(rng.uniform(0.07, 0.1) - np.abs(x), 0.02)
    )
    cage = np.clip(_blurred(lungs, x.shape[0] / 40) * 1.3, 0, 1)
    spacing, drop = rng.uniform(0.16, 0.22), rng.uniform(0.25, 0.5)
    strength = rng.uniform(0.05, 0.1)
    for side in (-1, 1):
        half = cage * (side * x > 0)
        across = np.abs(x)
        # posterior ribs fall outwards; anterior ones, which are fainter, inwards
        behind = (y - drop * across * across - 0.06 * np.sin(4 * across)) / spacing + rng.random()
        before = (y + rng.uniform(0.4, 0.7) * across) / (spacing * 1.15) + rng.random()
        bones += strength * half * _bands(behind)
        bones += 0.6 * strength * half * _bands(before) * _step(across - 0.35, 0.06)

        rise, bow = rng.uniform(0.05, 0.3), rng.uniform(0.02, 0.06)
        line = rng.uniform(-0.66, -0.54) - rise * across + bow * np.sin(7 * across)
        clavicle = _step(0.035 - np.abs(y - line), 0.01) * _step(across - 0.07, 0.02)
        bones += rng.uniform(0.08, 0.16) * clavicle * _step(0.85 - across, 0.03)
        centre = (side * rng.uniform(0.74, 0.95), rng.uniform(-0.5, -0.25))
        blade = _blob(x, y, centre, (0.13, rng.uniform(0.3, 0.42)), side * rng.uniform(0.1, 0.5))
        bones += rng.uniform(0.03, 0.14) * _step(1 - blade, 0.1)
    return bones


def _vessels(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Thin branches that fan out from both hila."""
    vessels = np.zeros_like(x)
    for side in (-1, 1):
        for angle in rng.uniform(-1.3, 1.3, 10).tolist():
            across, down = side * x - rng.uniform(0.1, 0.2), y - rng.uniform(-0.12, 0.12)
            along = across * math.cos(angle) + down * math.sin(angle)
            off = down * math.cos(angle) - across * math.sin(angle)
            off = off - rng.uniform(-0.6, 0.6) * along * along
            thickness = 0.024 * np.clip(1 - along / rng.uniform(0.4, 0.7), 0.1, 1)
            fade = np.clip(1 - along / 0.65, 0, 1) * np.clip(along / 0.1, 0, 1)
            vessels += rng.uniform(0.04, 0.1) * np.exp(-((off / thickness) ** 2)) * fade
    return vessels


def _patches(rng: np.random.Generator, x: Field, y: Field, lungs: Field) -> Field:
    """1 to 4 soft textured patches, clipped to the lungs."""
    texture = rng.standard_normal(x.shape, dtype=np.float32)
    texture = _blurred(texture, x.shape[0] / 60)
    texture = np.clip(1 + 0.2 * texture / texture.std(), 0.3, 1.7)
    # the heart covers the medial lung; a patch centred slightly off its edge is fully visible
    margin = max(1, min(x.shape) // 28)
    deep = cv2.erode(lungs, np.ones((margin, margin), np.uint8)) > 0.9
    deep &= (np.abs(x - 0.05) > 0.25) & (y < 0.5)
    centres = np.argwhere(deep)
    patches = np.zeros_like(x)
    for row, column in rng.choice(centres, size=rng.integers(1, 5)):
        radius = rng.uniform(0.15, 0.23)
        for _ in range(4):
            shift_x, shift_y = rng.normal(0, 0.6 * radius, 2).tolist()
            centre = (x[row, column] + shift_x, y[row, column] + shift_y)
            axes = (radius * rng.uniform(0.6, 1.2), radius * rng.uniform(0.6, 1.2))
            patches += rng.uniform(0.42, 0.56) * np.exp(-_blob(x, y, centre, axes, 0))
    return np.asarray(PATCH_LIMIT * np.tanh(patches * texture / PATCH_LIMIT) * lungs)


def _exposed(rng: np.random.Generator, density: Field) -> Pixels:
    """8-bit pixels with a drawn mean and spread, whatever the density shows.

    Patches brighten an image; without this step, its mean would give the class away.
    """
    height, width = density.shape
    gray = (density - density.min()) / (density.max() - density.min())
    gray **= rng.uniform(0.85, 1.2)
    mean, spread = rng.uniform(110, 135), rng.uniform(42, 51)
    for _ in range(3):  # clipping shifts both slightly
        gray = np.clip((gray - gray.mean()) * (spread / gray.std()) + mean, 0, 255)
    grain = _blurred(rng.standard_normal(gray.shape, dtype=np.float32), rng.uniform(0.4, 0.8))
    gray += grain * (rng.uniform(2, 6) / grain.std())
    # the collimator leaves dark borders, often only on some sides
    top, bottom, left, right = np.clip(rng.uniform(-0.06, 0.07, 4), 0, None)
    border = np.full_like(gray, rng.uniform(2, 20))
    rows = slice(round(top * height), height - round(bottom * height))
    columns = slice(round(left * width), width - round(right * width))
    border[rows, columns] = gray[rows, columns]
    return np.asarray(np.clip(np.rint(border), 0, 255), np.uint8)


def _step(distance: Field, softness: float) -> Field:
    """0 to 1 across an edge at distance 0 (a logistic, twice `softness` wide)."""
    return np.asarray(1 / (1 + np.exp(np.clip(-distance / softness, -30, 30))))


def _blurred(field: Field, sigma: float) -> Field:
    """A Gaussian blur of `sigma` px."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma))


def _blob(
    x: Field, y: Field, centre: tuple[float, float], axes: tuple[float, float], angle: float
) -> Field:
    """The squared elliptic distance: 0 at the centre, 1 on the ellipse."""
    dx, dy = x - centre[0], y - centre[1]
    along = dx * math.cos(angle) + dy * math.sin(angle)
    off = dy * math.cos(angle) - dx * math.sin(angle)
    return (along / axes[0]) ** 2 + (off / axes[1]) ** 2


def _bands(phase: Field) -> Field:
    """Soft stripes, one per unit of phase, each a third of it wide."""
    return _step(np.cos(2 * np.pi * phase) - 0.4, 0.15)
