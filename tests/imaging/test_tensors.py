"""Pixels as a column of Arrow tensors: the same values, without a copy."""

import numpy as np
import pyarrow as pa

from cnnjobs.imaging import tensors

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 1), np.uint8)


def test_pixels_go_into_a_table_and_come_out_of_it_without_a_copy() -> None:
    table = pa.table({"pixels": tensors.to_column(PIXELS)})
    read = tensors.to_numpy(table["pixels"])
    np.testing.assert_array_equal(read, PIXELS)
    assert np.shares_memory(read, PIXELS)


def test_a_slice_has_the_pixels_of_its_rows_without_a_copy() -> None:
    table = pa.table({"pixels": tensors.to_column(PIXELS)}).slice(2, 3)
    read = tensors.to_numpy(table["pixels"])
    np.testing.assert_array_equal(read, PIXELS[2:5])
    assert np.shares_memory(read, PIXELS)


def test_several_chunks_are_joined_in_order() -> None:
    parts = [pa.table({"pixels": tensors.to_column(part)}) for part in (PIXELS[:2], PIXELS[2:])]
    table = pa.concat_tables(parts)
    assert table["pixels"].num_chunks == 2
    np.testing.assert_array_equal(tensors.to_numpy(table["pixels"]), PIXELS)
    assert tensors.to_numpy(table.slice(0, 0)["pixels"]).shape == (0, 5, 4, 1)
