"""What one process does with rows of a manifest: read, decode and score them. No Ray.

The three stages run at once on separate threads: reading waits for disks and networks, decoding
and scoring use the processor. Calls overlap: while one waits for its last images, the images of
the next are already being decoded.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs import progress, schema
from cnnjobs.config import PredictConfig
from cnnjobs.errors import ImageError
from cnnjobs.imaging import reading
from cnnjobs.imaging.decoder import Decoder, Image
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing
from cnnjobs.inference import image_table
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import Engine, KerasEngine, OpenVinoEngine, Scores
from cnnjobs.storage import s3

#: Decoded images, each for every preprocessing; None for an empty place.
_Batch = list[Sequence[Decoded] | None]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How to score, wherever that happens.

    Attributes:
        bundles: the models; the mean is taken over several.
        engine: openvino or keras.
        batch_size: images scored at once.
        run_id: value of the rows' `run_id`.
        policy: which files count as images.
        image_timeout: seconds after which an image is given up; see `Decoder`.
        samples: images that a process on Ray must be able to read, at least one of them.
    """

    bundles: Sequence[Bundle]
    engine: str
    batch_size: int
    run_id: str
    policy: reading.Policy = field(default_factory=reading.Policy)
    image_timeout: float = PredictConfig.image_timeout
    samples: Sequence[str] = ()

    @property
    def preprocessings(self) -> Sequence[Preprocessing]:
        """The distinct preprocessings of the models."""
        return list(dict.fromkeys(each.preprocessing for each in self.bundles))

    def decoder(self, threads: int) -> Decoder:
        """A decoder for all models."""
        return Decoder(
            self.preprocessings, self.policy, threads=threads, timeout=self.image_timeout
        )


class Predictor:
    """Holds the models and turns rows of a manifest into rows of predictions."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        """Load the models.

        Args:
            scoring: how to score.
            threads: for decoding, and for each model.
        """
        self._scoring = scoring
        self._engines = [
            open_engine(each, scoring.engine, batch_size=scoring.batch_size, threads=threads)
            for each in scoring.bundles
        ]
        self._preprocessings = scoring.preprocessings
        self._decoder = scoring.decoder(threads)
        self._engine_lock = threading.Lock()
        self._began: float | None = None

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Score rows; may be called from several threads at once.

        Args:
            rows: of a manifest (path, label, size_bytes), or of an `image_table`, whose images
                another process has decoded.

        Returns:
            One row of `schema.predictions` for each, in their order, with the columns of
            `schema.MEASURES`.
        """
        self._began = self._began or time.perf_counter()
        retries_before = s3.num_retries()
        images: Iterable[Image]
        if image_table.RETRIES in rows.column_names:
            retries_before -= pc.sum(rows[image_table.RETRIES]).as_py()
            images = image_table.to_images(rows, num_preprocessings=len(self._preprocessings))
        else:
            images = (image() for image in self._decoder.begin(rows))
        scored: list[Image] = []
        scores: list[list[Scores]] = []
        score_seconds = 0.0
        for batch in self._batches(images, scored):
            with self._engine_lock:
                began = time.perf_counter()
                scores.append(self._score(batch))
                score_seconds += time.perf_counter() - began
        is_ok = [not isinstance(each.decoded, ImageError) for each in scored]
        by_model = self._spread(scores, is_ok)
        table = prediction_rows(rows, [each.decoded for each in scored], by_model, self._scoring)
        measures: dict[str, Sequence[Any]] = {
            "read_seconds": [each.read_seconds for each in scored],
            "decode_seconds": [each.decode_seconds for each in scored],
            "score_seconds": [score_seconds / len(scored)] * len(scored),
            "working_seconds": [time.perf_counter() - self._began] * len(scored),
            # counted per process: calls that overlap share them
            "retries": [s3.num_retries() - retries_before, *[0] * (len(scored) - 1)],
            "peak_memory_bytes": [progress.peak_memory_bytes()] * len(scored),
            "is_outage": [each.is_outage for each in scored],
        }
        return _measured(table, measures)

    def check(self) -> None:
        """Score a black image, which shows that this process can score."""
        sizes = ((each.height, each.width, 1) for each in self._preprocessings)
        with self._engine_lock:
            self._score([[Decoded(np.zeros(size, np.uint8), 1, 1) for size in sizes]])

    def _batches(self, images: Iterable[Image], scored: list[Image]) -> Iterator[_Batch]:
        """Batches with the images that have no error; all are added to `scored` as they come."""
        batch: _Batch = []
        for image in images:
            scored.append(image)
            if not isinstance(image.decoded, ImageError):
                batch.append(image.decoded)
            elif self._scoring.engine == "keras":
                # with TensorFlow, the last bit of a score depends on the place in the batch
                batch.append(None)
            if len(batch) == self._scoring.batch_size:
                yield batch
                batch = []
        # an empty one would wait for the engine, which scores a batch of another call
        if batch:
            yield batch

    def _score(self, batch: _Batch) -> list[Scores]:
        """The scores from each model of the images in a batch; their places may be empty."""
        is_there = [each is not None for each in batch]
        if not any(is_there):
            return []
        inputs = {
            preprocessing: self._pixels(batch, index, preprocessing)
            for index, preprocessing in enumerate(self._preprocessings)
        }
        return [
            engine.scores(inputs[bundle.preprocessing])[is_there]
            for engine, bundle in zip(self._engines, self._scoring.bundles, strict=True)
        ]

    def _pixels(self, batch: _Batch, index: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        shape = (len(batch), preprocessing.height, preprocessing.width, 1)
        pixels = np.zeros(shape, np.uint8)
        for row, each in enumerate(batch):
            if each is not None:
                pixels[row] = each[index].pixels
        return pixels

    def _spread(self, scores: Sequence[Sequence[Scores]], is_ok: Sequence[bool]) -> list[Scores]:
        """The scores of each model for all images; those of images with an error mean nothing."""
        shape = (len(is_ok), _width(self._scoring))
        by_model = [np.full(shape, 0.5, np.float32) for _ in self._engines]
        for whole, *parts in zip(by_model, *filter(None, scores), strict=True):
            if parts:
                whole[is_ok] = np.concatenate(parts)
        return by_model


def failed_row(row: pa.Table, error: ImageError, scoring: Scoring, seconds: float) -> pa.Table:
    """What `Predictor` returns for one row whose image has an error, found in so many seconds."""
    scores = [np.full((1, _width(scoring)), 0.5, np.float32)] * len(scoring.bundles)
    measures = {each.name: [pa.scalar(0).cast(each.type)] for each in schema.MEASURES}
    measures["working_seconds"] = [seconds]
    return _measured(prediction_rows(row, [error], scores, scoring), measures)


def open_engine(bundle: Bundle, name: str, *, batch_size: int, threads: int) -> Engine:
    """The engine of that name (openvino or keras), loaded with the bundle's model.

    Raises:
        BundleError: the model is missing or damaged, or has no export for this engine.
    """
    if name == "openvino":
        return OpenVinoEngine(
            *openvino_export.read(bundle),
            batch_size=batch_size,
            threads=threads,
            precision=bundle.precision,
        )
    return KerasEngine(bundles.load_model(bundle), batch_size=batch_size)


def prediction_rows(
    rows: pa.Table,
    decoded: Sequence[Sequence[Decoded] | ImageError],
    scores: Sequence[Scores],
    scoring: Scoring,
) -> pa.Table:
    """A table of predictions; images with an error get no score.

    Args:
        rows: with `path` and `label`.
        decoded: the image of each row.
        scores: from each model's engine, (N, 1) of the positive class or (N, number of labels);
            its bundle's temperature is applied here.
        scoring: its bundles share their labels and positive class.
    """
    first = scoring.bundles[0]
    is_ok = np.array([not isinstance(each, ImageError) for each in decoded], dtype=bool)
    known = set(first.labels)
    scores = [
        calibration.scaled(each, bundle.temperature)
        for each, bundle in zip(scores, scoring.bundles, strict=True)
    ]
    mean: Scores = np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)
    result = schema.predictions(len(first.labels), num_models=len(scores))
    columns = {
        "path": rows["path"],
        "label": [label if label in known else None for label in rows["label"].to_pylist()],
        "prediction": pa.array(_class_names(mean, scoring.bundles), pa.string(), mask=~is_ok),
        **_score_columns(mean, scores, is_ok, result),
        "error": [str(each) if isinstance(each, ImageError) else None for each in decoded],
        "warning": [None if isinstance(each, ImageError) else each[0].warning for each in decoded],
        "width": [None if isinstance(each, ImageError) else each[0].width for each in decoded],
        "height": [None if isinstance(each, ImageError) else each[0].height for each in decoded],
        "model": [model_name(scoring.bundles)] * len(decoded),
        "run_id": [scoring.run_id] * len(decoded),
        "scored_at": [datetime.now(UTC)] * len(decoded),
        "gone_at": [None] * len(decoded),
    }
    return pa.table(
        [
            columns[name]
            if isinstance(columns[name], pa.Array | pa.ChunkedArray)
            else pa.array(columns[name], result.field(name).type)
            for name in result.names
        ],
        schema=result,
    )


def model_name(models: Sequence[Bundle]) -> str:
    """Value of the `model` column: the bundle's name, or an ensemble's names joined by `+`."""
    return str(bundles.identity(models)["model"])


def threshold(models: Sequence[Bundle]) -> float:
    """Mean probability of the positive class at and above which that class is predicted."""
    return float(np.mean([bundle.threshold for bundle in models]))


def _measured(table: pa.Table, measures: Mapping[str, Sequence[Any]]) -> pa.Table:
    for each in schema.MEASURES:
        table = table.append_column(each.name, pa.array(measures[each.name], each.type))
    return table


def _width(scoring: Scoring) -> int:
    """Scores of one image."""
    first = scoring.bundles[0]
    return 1 if first.positive is not None else len(first.labels)


def _class_names(mean: Scores, models: Sequence[Bundle]) -> list[str]:
    first = models[0]
    if first.positive is None:
        return [first.labels[index] for index in mean.argmax(axis=1)]
    negative = next(label for label in first.labels if label != first.positive)
    is_positive = mean[:, 0] >= threshold(models)
    return [first.positive if each else negative for each in is_positive]


def _score_columns(
    mean: Scores,
    scores: Sequence[Scores],
    is_ok: NDArray[np.bool_],
    result: pa.Schema,
) -> dict[str, pa.Array]:
    """`probability` or `probabilities`, and for an ensemble also `by_model`."""
    is_binary = "probability" in result.names
    name = "probability" if is_binary else "probabilities"
    columns = {name: _masked(mean[:, 0] if is_binary else mean, is_ok, result.field(name).type)}
    if "by_model" in result.names:
        each = np.stack([part[:, 0] if is_binary else part for part in scores], axis=1)
        columns["by_model"] = _masked(each, is_ok, result.field("by_model").type)
    return columns


def _masked(values: Scores, is_ok: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    rows = values.tolist()
    return pa.array([row if ok else None for row, ok in zip(rows, is_ok, strict=True)], kind)
