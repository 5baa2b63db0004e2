"""Decoded images for training, without Ray: rows of a manifest to rows with uint8 pixels."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.errors import ImageError, TrainingError
from cnnjobs.imaging import reading, tensors
from cnnjobs.imaging.decoder import read_many
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing
from cnnjobs.storage import archives, filesystem

#: Files read from S3 at once.
_REMOTE_READERS = 16

#: The column that decoding adds to the manifest's; it also replaces `width`, `height` and `error`.
PIXELS = "pixels"

_LOST = "lost"


class DecodedSet:
    """Decoded, labelled images of one split; the pixels stay in the blocks, without a copy.

    Attributes:
        targets: (N,) the class of each image as a number.
        sources: (N,) the collection that each image comes from.
        num_failed: images left out because they could not be decoded.
    """

    def __init__(self, blocks: Sequence[pa.Table], split: str, targets: Mapping[str, int]) -> None:
        """Select the images of one split from decoded blocks.

        Args:
            blocks: of `decoded`, in order.
            split: to select.
            targets: number of each label.

        Raises:
            TrainingError: an image can no longer be read.
        """
        self._pixels = [pixels_of(block) for block in blocks]
        self._positions: list[tuple[int, int]] = []
        numbers, sources = [], []
        self.num_failed = 0
        for number, block in enumerate(blocks):
            check_none_is_lost(block)
            names = ("split", "label", "source", "error")
            columns = (block[name].to_pylist() for name in names)
            for row, (row_split, label, source, error) in enumerate(zip(*columns, strict=True)):
                if row_split != split or label is None:
                    continue
                if error is not None:
                    self.num_failed += 1
                    continue
                self._positions.append((number, row))
                numbers.append(targets[label])
                sources.append(source)
        self.targets = np.array(numbers, np.int64)
        self.sources = np.array(sources, np.str_)

    def __len__(self) -> int:
        return len(self._positions)

    def stream(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.uint8]]:
        """The pixels of each batch of rows, (rows, height, width, 1) uint8."""
        for rows in batches:
            positions = (self._positions[row] for row in rows)
            yield np.stack([self._pixels[block][row] for block, row in positions])

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The targets of these rows, (len(rows),)."""
        return self.targets[rows]


def sets(blocks: Sequence[pa.Table], targets: Mapping[str, int]) -> tuple[DecodedSet, DecodedSet]:
    """The training and the validation split of decoded blocks; see `DecodedSet`."""
    return DecodedSet(blocks, TRAIN, targets), DecodedSet(blocks, VALIDATION, targets)


def decode_rows(rows: pa.Table, preprocessing: Preprocessing, *, threads: int = 1) -> pa.Table:
    """The rows with `pixels` (height, width, 1) uint8, `width`, `height`, `error` and `lost`.

    `lost` is null, or says why an image cannot be read that was readable when it was indexed, or
    whose storage fails.

    Args:
        rows: of a manifest.
        preprocessing: turns files into pixels.
        threads: that decode at once; more of them read from S3.
    """
    reading.prepare_process()
    archives.expect(rows)
    paths = rows["path"].to_pylist()
    if any(filesystem.is_s3(path) for path in paths):
        threads = max(threads, _REMOTE_READERS)
    decode = functools.partial(_decode_one, preprocessing=preprocessing)
    results = list(read_many(paths, decode, threads=threads))
    shape = (len(paths), preprocessing.height, preprocessing.width, 1)
    pixels = np.zeros(shape, np.uint8)
    for position, result in enumerate(results):
        if isinstance(result, Decoded):
            pixels[position] = result.pixels
    known = rows["width"].is_valid().to_pylist()
    lost = [_why_lost(*each) for each in zip(paths, known, results, strict=True)]
    widths, heights, errors = zip(*(_size_and_error(result) for result in results), strict=True)
    kept = rows.drop_columns(["width", "height", "error"])
    return pa.table(
        {
            **{name: kept[name] for name in kept.column_names},
            "width": pa.array(widths, pa.int32()),
            "height": pa.array(heights, pa.int32()),
            "error": pa.array(errors, pa.string()),
            _LOST: pa.array(lost, pa.string()),
            PIXELS: tensors.to_column(pixels),
        }
    )


def pixels_of(block: pa.Table) -> NDArray[np.uint8]:
    """The pixels of a decoded block, (N, height, width, 1) uint8, not copied."""
    return tensors.to_numpy(block[PIXELS])


def _decode_one(path: str, preprocessing: Preprocessing) -> Decoded | ImageError:
    # whether to train on an image was decided when it was indexed
    return reading.load(path, preprocessing, reading.Policy(any_modality=True))


def _why_lost(path: str, is_known: bool, result: Decoded | ImageError) -> str | None:
    if not isinstance(result, ImageError):
        return None
    if (failure := reading.of_source(path, result)) is not None:
        return str(failure)
    if is_known:
        return f"{path} was readable when it was indexed, but no longer is ({result}); index again."
    return None


def check_none_is_lost(block: pa.Table) -> None:
    """Raise TrainingError rather than train on fewer images than the manifest promises."""
    lost = block[_LOST].drop_null()
    if len(lost):
        raise TrainingError(lost[0].as_py())


def _size_and_error(result: Decoded | ImageError) -> tuple[int | None, int | None, str | None]:
    if isinstance(result, ImageError):
        return None, None, str(result)
    return result.width, result.height, None
