"""What one process does with rows of a manifest: read, decode, score. Nothing of Ray.

Three stages at once, each with threads of its own: reading waits for disks and networks,
decoding and scoring for the processor. Rows of several calls mix, so that while one call waits
for its last images the next one's are decoded already.
"""

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs import progress, schema
from cnnjobs.errors import ImageError
from cnnjobs.imaging import reading
from cnnjobs.imaging.decoder import Decoder, Image, Images
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import Engine, KerasEngine, OpenVinoEngine, Scores
from cnnjobs.storage import s3


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How to score, wherever it is done.

    Attributes:
        bundles: the models; of several the mean is taken.
        engine: openvino or keras.
        batch_size: images scored at once.
        run_id: what to write in the rows.
        policy: what to take for an image.
    """

    bundles: Sequence[Bundle]
    engine: str
    batch_size: int
    run_id: str
    policy: reading.Policy = field(default_factory=reading.Policy)

    @property
    def preprocessings(self) -> Sequence[Preprocessing]:
        """What the models take, each once."""
        return list(dict.fromkeys(each.preprocessing for each in self.bundles))

    def decoder(self, threads: int) -> Decoder:
        """What reads and decodes for the models."""
        return Decoder(self.preprocessings, self.policy, threads=threads)


class Scorer:
    """Holds the models of a scoring and turns rows of a manifest into rows of predictions."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        """Open the models.

        Args:
            scoring: how to score.
            threads: that decode, and that each model scores on.
        """
        self._scoring = scoring
        self._engines = [
            open_engine(each, scoring.engine, batch_size=scoring.batch_size, threads=threads)
            for each in scoring.bundles
        ]
        self._preprocessings = scoring.preprocessings
        self._decoder = scoring.decoder(threads)
        self._engine_free = threading.Lock()
        self._began: float | None = None

    def __call__(self, rows: pa.Table, decoded: Images | None = None) -> pa.Table:
        """Score some rows (path, label, size_bytes); may be called from several threads.

        Args:
            rows: of a manifest.
            decoded: the images of the rows, where another process has made them.

        Returns:
            One row of `schema.predictions` for each, in their order, and the columns of
            `schema.MEASURES`: what it took.
        """
        self._began = self._began or time.perf_counter()
        retries = s3.num_retries() - (decoded.retries if decoded is not None else 0)
        coming = (
            iter(decoded.images)
            if decoded is not None
            else (each.result().result() for each in self._decoder.begin(rows))
        )
        scored: list[Image] = []
        scores: list[list[Scores]] = []
        score_seconds = 0.0
        while batch := list(itertools.islice(coming, self._scoring.batch_size)):
            scored += batch
            with self._engine_free:
                began = time.perf_counter()
                scores.append(self._score(batch))
                score_seconds += time.perf_counter() - began
        by_model = [np.concatenate(parts) for parts in zip(*scores, strict=True)]
        table = prediction_rows(rows, [each.decoded for each in scored], by_model, self._scoring)
        measures = {
            "read_seconds": [each.read_seconds for each in scored],
            "decode_seconds": [each.decode_seconds for each in scored],
            "score_seconds": [score_seconds / len(scored)] * len(scored),
            "working_seconds": [time.perf_counter() - self._began] * len(scored),
            # of this process, whichever call they were for
            "retries": [s3.num_retries() - retries, *[0] * (len(scored) - 1)],
            "peak_memory_bytes": [progress.peak_memory_bytes()] * len(scored),
        }
        for name in schema.MEASURES.names:
            values = pa.array(measures[name], schema.MEASURES.field(name).type)
            table = table.append_column(name, values)
        return table

    def _score(self, batch: Sequence[Image]) -> list[Scores]:
        """The scores of each model; those of images with an error mean nothing."""
        inputs = {
            preprocessing: self._pixels(batch, place, preprocessing)
            for place, preprocessing in enumerate(self._preprocessings)
        }
        return [
            engine.scores(inputs[bundle.preprocessing])
            for engine, bundle in zip(self._engines, self._scoring.bundles, strict=True)
        ]

    def _pixels(
        self, batch: Sequence[Image], place: int, preprocessing: Preprocessing
    ) -> NDArray[np.uint8]:
        shape = (len(batch), preprocessing.height, preprocessing.width, 1)
        pixels = np.zeros(shape, np.uint8)
        for position, each in enumerate(batch):
            if not isinstance(each.decoded, ImageError):
                pixels[position] = each.decoded[place].pixels
        return pixels


def open_engine(bundle: Bundle, name: str, *, batch_size: int, threads: int) -> Engine:
    """The engine of that name (openvino or keras) with the bundle's model in it.

    Raises:
        BundleError: the model is missing or damaged, or has no export for this engine.
    """
    if name == "openvino":
        return OpenVinoEngine(*openvino_export.read(bundle), batch_size=batch_size, threads=threads)
    return KerasEngine(bundles.load_model(bundle), batch_size=batch_size)


def prediction_rows(
    rows: pa.Table,
    decoded: Sequence[Sequence[Decoded] | ImageError],
    scores: Sequence[Scores],
    scoring: Scoring,
) -> pa.Table:
    """Name what the scores say; images with an error get none.

    Args:
        rows: with `path` and `label`.
        decoded: of each row.
        scores: of each model as its engine gives them, (N, 1) of the positive class, or
            (N, number of labels); its bundle's temperature is applied here.
        scoring: its bundles, whose labels and positive class are the same.
    """
    first = scoring.bundles[0]
    sound = np.array([not isinstance(each, ImageError) for each in decoded], dtype=bool)
    known = set(first.labels)
    scores = [
        calibration.scaled(each, bundle.temperature)
        for each, bundle in zip(scores, scoring.bundles, strict=True)
    ]
    mean: Scores = np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)
    wanted = schema.predictions(len(first.labels), num_models=len(scores))
    columns = {
        "path": rows["path"],
        "label": [label if label in known else None for label in rows["label"].to_pylist()],
        "prediction": pa.array(_named(mean, scoring.bundles), pa.string(), mask=~sound),
        **_score_columns(mean, scores, sound, wanted),
        "error": [str(each) if isinstance(each, ImageError) else None for each in decoded],
        "warning": [None if isinstance(each, ImageError) else each[0].warning for each in decoded],
        "width": [None if isinstance(each, ImageError) else each[0].width for each in decoded],
        "height": [None if isinstance(each, ImageError) else each[0].height for each in decoded],
        "model": [model_name(scoring.bundles)] * len(decoded),
        "run_id": [scoring.run_id] * len(decoded),
    }
    return pa.table(
        [
            columns[name]
            if isinstance(columns[name], pa.Array | pa.ChunkedArray)
            else pa.array(columns[name], wanted.field(name).type)
            for name in wanted.names
        ],
        schema=wanted,
    )


def model_name(several: Sequence[Bundle]) -> str:
    """What the `model` column says: the bundle's name, or all of them with a plus between."""
    return "+".join(bundle.name for bundle in several)


def threshold(several: Sequence[Bundle]) -> float:
    """Mean probability of the positive class from which on it is predicted."""
    return float(np.mean([bundle.threshold for bundle in several]))


def _named(mean: Scores, several: Sequence[Bundle]) -> list[str]:
    first = several[0]
    if first.positive is None:
        return [first.labels[place] for place in mean.argmax(axis=1)]
    negative = next(label for label in first.labels if label != first.positive)
    is_positive = mean[:, 0] >= threshold(several)
    return [first.positive if each else negative for each in is_positive]


def _score_columns(
    mean: Scores,
    scores: Sequence[Scores],
    sound: NDArray[np.bool_],
    wanted: pa.Schema,
) -> dict[str, pa.Array]:
    """`probability` or `probabilities`, and of an ensemble those of each of its models."""
    is_binary = "probability" in wanted.names
    name = "probability" if is_binary else "probabilities"
    columns = {name: _masked(mean[:, 0] if is_binary else mean, sound, wanted.field(name).type)}
    if "by_model" in wanted.names:
        each = np.stack([part[:, 0] if is_binary else part for part in scores], axis=1)
        columns["by_model"] = _masked(each, sound, wanted.field("by_model").type)
    return columns


def _masked(values: Scores, sound: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    rows = values.tolist()
    return pa.array([row if good else None for row, good in zip(rows, sound, strict=True)], kind)
