"""Ray Data for training: manifest rows to blocks of uint8 pixels, read and decoded once."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from numpy.typing import NDArray

from cnnjobs.cluster.blocks import rows_per_block
from cnnjobs.cluster.ray_data import quiet_and_ordered
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.training.decoded_images import check_none_is_lost, decode_rows, pixels_of


def decoded(
    rows: pa.Table, preprocessing: Preprocessing, *, batch_size: int, num_cpus: int
) -> "ray.data.Dataset":
    """A lazy dataset of the rows, in order, with their pixels.

    Blocks are small and hold whole batches: batches have the same images for any number of
    workers, and memory stays bounded. An image that cannot be decoded keeps its row, with `error`
    filled in and black pixels.

    Args:
        rows: of a manifest.
        preprocessing: turns files into pixels.
        batch_size: images per batch.
        num_cpus: of the cluster; a small set is split so that every core gets some blocks.
    """
    per_block = rows_per_block(
        rows.num_rows,
        batch_size=batch_size,
        image_bytes=preprocessing.height * preprocessing.width,
        min_blocks=4 * num_cpus,
    )
    blocks = [
        rows.slice(start, per_block).combine_chunks()
        for start in range(0, rows.num_rows, per_block)
    ]
    with quiet_and_ordered():
        return ray.data.from_arrow(blocks).map_batches(
            functools.partial(decode_rows, preprocessing=preprocessing),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
        )


class StreamedSet:
    """Images of one split that are read and decoded again on each pass, in the order of the pass.

    For sets that do not fit in memory. Shuffling the manifest instead of the pixels gives the same
    order as `DecodedSet`, over all rows; separate tasks decode ahead of the training step and need
    free cores.
    """

    def __init__(
        self, rows: pa.Table, split: str, targets: Mapping[str, int], preprocessing: Preprocessing
    ) -> None:
        """Select the rows of one split that were readable when they were indexed."""
        in_split = rows.filter(pc.and_(pc.equal(rows["split"], split), pc.is_valid(rows["label"])))
        self._rows = in_split.filter(pc.is_null(in_split["error"])).combine_chunks()
        self._preprocessing = preprocessing
        self.num_failed = in_split.num_rows - self._rows.num_rows
        self.targets = np.array(
            [targets[label] for label in self._rows["label"].to_pylist()], np.int64
        )
        self.sources = np.array(self._rows["source"].to_pylist(), np.str_)

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def stream(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
        """The pixels of each batch of rows, (rows, height, width, 1) uint8.

        Raises:
            TrainingError: an image can no longer be read.
        """
        blocks = decoded(
            self._rows.take(np.concatenate(batches)),
            self._preprocessing,
            batch_size=len(batches[0]),
            num_cpus=1,
        ).iter_batches(batch_size=len(batches[0]), batch_format="pyarrow", prefetch_batches=2)
        for block in blocks:
            assert isinstance(block, pa.Table)
            check_none_is_lost(block)
            yield pixels_of(block)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The targets of these rows, (len(rows),)."""
        return self.targets[rows]
