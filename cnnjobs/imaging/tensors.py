"""Pixels of many images as a column of Arrow tensors, in either direction without a copy."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_column(pixels: NDArray[np.uint8]) -> Any:
    """A column of an Arrow table, from (N, height, width, 1) uint8."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)


def to_numpy(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """The pixels of a column, (N, height, width, 1) uint8; copied only if it has several chunks."""
    # `combine_chunks` copies a single chunk, too
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    pixels: NDArray[np.uint8] = array.to_numpy_ndarray()
    return pixels
