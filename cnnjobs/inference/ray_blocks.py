"""What Ray Data runs for scoring: actors that take blocks of rows."""

import pyarrow as pa

from cnnjobs.imaging.daemon_threads import end_if_frozen
from cnnjobs.inference import image_table, source_watch
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.storage import s3

#: The one column of a block that holds serialized rows of the manifest.
_ROWS = "rows"


def packed(rows: pa.Table) -> dict[str, bytes]:
    """A block for Ray Data: one row, which holds rows of the manifest."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return {_ROWS: bytes(sink.getvalue())}


class BlockDecoder:
    """Decodes Ray Data's blocks for predictors on other machines."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        _check_process(scoring)
        self._decoder = scoring.decoder(threads)
        self._preprocessings = scoring.preprocessings

    def __call__(self, block: pa.Table) -> pa.Table:
        """An `image_table` of the rows in a block."""
        rows = _unpacked(block)
        retries_before = s3.num_retries()
        images = [image() for image in self._decoder.begin(rows)]
        # counted per process: calls that overlap share them
        retries = s3.num_retries() - retries_before
        return image_table.from_images(rows, images, self._preprocessings, retries)


class BlockPredictor:
    """Scores Ray Data's blocks: serialized rows of a manifest, or batches of decoded images."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        _check_process(scoring)
        self._predictor = Predictor(scoring, threads=threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score the rows in a block; see `Predictor`."""
        return self._predictor(_unpacked(block) if _ROWS in block.column_names else block)


def _check_process(scoring: Scoring) -> None:
    """Let a process of Ray Data work only if it can read, and only as long as it is alive."""
    source_watch.check_process(scoring.samples)
    end_if_frozen(scoring.image_timeout)


def _unpacked(block: pa.Table) -> pa.Table:
    return pa.ipc.open_stream(block[_ROWS][0].as_buffer()).read_all()
