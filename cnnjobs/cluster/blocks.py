"""Sizes of the blocks in which images are handed to processes: whole batches."""

#: Batches in a block: 128 images of 256 x 256 are 8 MB.
_BATCHES_PER_BLOCK = 4

#: A block holds more small images, up to this many rows or bytes, because each block costs Ray 6
#: to 25 ms: 3,600 to 4,000 digits per second on 2 cores at 128 rows, 6,400 to 6,800 at 512.
_ROWS_PER_BLOCK, _BYTES_PER_BLOCK = 1024, 4 << 20


def rows_per_block(num_rows: int, *, batch_size: int, image_bytes: int, min_blocks: int) -> int:
    """Rows in a block: whole batches, few enough to bound memory and to keep every process busy.

    Args:
        num_rows: of the whole table.
        batch_size: rows in a batch.
        image_bytes: size of one decoded image.
        min_blocks: a table of as many batches or more is split into at least this many blocks.
    """
    small = min(_ROWS_PER_BLOCK, _BYTES_PER_BLOCK // image_bytes) // batch_size
    num_batches = -(-num_rows // batch_size)
    return batch_size * max(1, min(max(_BATCHES_PER_BLOCK, small), num_batches // min_blocks))
