"""Compares what the package shows of each raster variant with an independent decoder."""

from typing import NamedTuple

import numpy as np

from cnnjobs.errors import ImageError
from cnnjobs.imaging import preprocessing
from tests.imaging.differential import raster_oracles, raster_variants

#: Gray levels of mean difference that are allowed.
ALLOWED = 1.5

MAX_PIXELS = 10**6


class Compared(NamedTuple):
    """What became of a variant: `error`, or the mean difference from the oracle's picture.

    `fault` says what is wrong with it; None if nothing is.
    """

    name: str
    error: str | None = None
    difference: float = 0.0
    fault: str | None = None


def compare(variant) -> Compared:
    """Decode a variant twice, in memory that held other values, and compare it with the oracle."""
    name, data, refused = variant
    try:
        first = _picture(data)
    except ImageError as error:
        is_expected = refused is not None and str(error).startswith(refused)
        unforeseen = error.__cause__ is not None and "contradict" in str(error)
        fault = None if is_expected and not unforeseen else f"refused: {error}"
        return Compared(name, str(error), fault=fault)
    if refused is not None:
        return Compared(name, fault=f"accepted, though it should be {refused}")
    leftovers = [np.full(first.gray.nbytes + size, 0xAB, np.uint8) for size in (0, 64, 4096)]
    del leftovers
    if _picture(bytes(bytearray(data))).gray.tobytes() != first.gray.tobytes():
        return Compared(name, fault="decoded twice, it differs")
    height, width = first.gray.shape
    settings = preprocessing.Preprocessing(height=height, width=width)
    found = preprocessing.decode(data, settings).pixels[:, :, 0]
    expected = raster_oracles.shown(data)
    if expected.shape != found.shape:
        return Compared(name, fault=f"{found.shape} pixels, the oracle has {expected.shape}")
    difference = float(np.abs(found - expected).mean())
    fault = None if difference <= ALLOWED else f"{difference:.2f} gray levels from the oracle"
    if not first.steps:
        fault = "it does not say what was done"
    return Compared(name, difference=difference, fault=fault)


def _picture(data):
    return preprocessing.read(data, max_pixels=MAX_PIXELS)


def summary() -> str:
    """Counts of all variants, for people."""
    results = list(map(compare, raster_variants.variants()))
    lines = []
    for format_ in ("PNG", "JPEG", "TIFF", "BMP", "WebP", ""):
        of_format = [result for result in results if result.name.startswith(format_)]
        refused = sum(result.error is not None for result in of_format)
        largest = max(of_format, key=lambda result: result.difference)
        lines.append(
            f"{format_ or 'all'}: {len(of_format)} variants, {len(of_format) - refused} accepted, "
            f"{refused} refused, largest mean difference {largest.difference:.2f} gray levels "
            f"({largest.name})"
        )
    faults = [f"{result.name}: {result.fault}" for result in results if result.fault]
    return "\n".join([*lines, f"faults: {len(faults)}", *faults])
