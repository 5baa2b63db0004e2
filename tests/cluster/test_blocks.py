"""The size of Ray Data's blocks."""

import pytest

from cnnjobs.cluster.blocks import rows_per_block


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "side", "min_blocks", "rows"),
    [
        # four batches of images that are not small
        (100_000, 32, 256, 8, 128),
        (100_000, 1, 2048, 8, 4),
        # small images: up to 1024 rows, or 4 MiB
        (100_000, 32, 28, 8, 1024),
        (100_000, 32, 100, 8, 416),
        # a small table is split among all processes
        (256, 32, 28, 4, 64),
        (100, 32, 28, 8, 32),
        (0, 32, 28, 8, 32),
    ],
)
def test_blocks_are_whole_batches_that_bound_memory_and_occupy_every_process(
    num_rows: int, batch_size: int, side: int, min_blocks: int, rows: int
) -> None:
    found = rows_per_block(
        num_rows, batch_size=batch_size, image_bytes=side * side, min_blocks=min_blocks
    )
    assert found == rows
