"""Decoded images as an Arrow table: how they travel to the predictors of other machines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cnnjobs.errors import ImageError
from cnnjobs.imaging import tensors
from cnnjobs.imaging.decoder import Image
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing

#: Requests retried to read the images; no other table of rows has this column.
RETRIES = "retries"

_VALUES = [
    *("error", "is_outage", "warning", "width", "height", "read_seconds", "decode_seconds"),
]


def from_images(
    rows: pa.Table, images: Sequence[Image], preprocessings: Sequence[Preprocessing], retries: int
) -> pa.Table:
    """The images with the path and label of their rows.

    `pixels_0`, `pixels_1` and so on are (height, width, 1) uint8 tensors, one per preprocessing.
    An image with an error is black.
    """
    columns: dict[str, Any] = {"path": rows["path"], "label": rows["label"]}
    for index, each in enumerate(preprocessings):
        pixels = np.zeros((len(images), each.height, each.width, 1), np.uint8)
        for row, image in enumerate(images):
            if not isinstance(image.decoded, ImageError):
                pixels[row] = image.decoded[index].pixels
        columns[f"pixels_{index}"] = tensors.to_column(pixels)
    results = [each.decoded for each in images]
    errors = [str(each) if isinstance(each, ImageError) else None for each in results]
    firsts = [None if isinstance(each, ImageError) else each[0] for each in results]
    return pa.table(
        {
            **columns,
            "error": pa.array(errors, pa.string()),
            "is_outage": pa.array([each.is_outage for each in images], pa.bool_()),
            "warning": pa.array([each and each.warning for each in firsts], pa.string()),
            "width": pa.array([each and each.width for each in firsts], pa.int32()),
            "height": pa.array([each and each.height for each in firsts], pa.int32()),
            "read_seconds": pa.array([each.read_seconds for each in images], pa.float64()),
            "decode_seconds": pa.array([each.decode_seconds for each in images], pa.float64()),
            RETRIES: pa.array([retries, *[0] * (len(images) - 1)], pa.int64()),
        }
    )


def to_images(table: pa.Table, *, num_preprocessings: int) -> list[Image]:
    """The images of a table; their pixels are not copied."""
    pixels = [tensors.to_numpy(table[f"pixels_{index}"]) for index in range(num_preprocessings)]
    images = []
    for row, values in enumerate(table.select(_VALUES).to_pylist()):
        decoded: list[Decoded] | ImageError
        if values["error"] is None:
            size = values["width"], values["height"]
            decoded = [Decoded(each[row], *size, values["warning"]) for each in pixels]
        else:
            category, _, reason = values["error"].partition(": ")
            decoded = ImageError(category, reason, is_outage=values["is_outage"])
        images.append(Image(decoded, values["read_seconds"], values["decode_seconds"]))
    return images
