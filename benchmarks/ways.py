"""The ways to score that `python -m benchmarks predict` compares; each runs in its own process.

Each takes the archive (`folder`), the URI of the bundle (`bundle`), `batch_size` and an output
folder, scores every file, and returns

seconds_to_first           from the start of its process to the first scored batch
steady_images_per_second   after start-up
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.archive import files
from cnnjobs.models import bundle as bundles

#: For the ceiling: decode threads per core, and batches decoded ahead of the engine.
_THREADS_PER_CPU, _BATCHES_AHEAD = 1, 3


class _Batches:
    """Records when each batch was scored."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._began = float(settings["began"])
        self.ends: list[tuple[float, int]] = []

    def scored(self, rows: int) -> None:
        self.ends.append((time.time(), rows))

    def rates(self) -> dict[str, float]:
        """Rates after the first batch, during which libraries compile and load.

        This favors a way that has decoded further batches by then. The ceiling and
        `cnnjobs predict` count all images and all time since their first.
        """
        (first, before), *rest = self.ends
        seconds = (rest[-1][0] if rest else time.time()) - first
        rows = sum(rows for _, rows in rest) or before
        return {
            "seconds_to_first": first - self._began,
            "steady_images_per_second": rows / seconds,
        }


def notebook(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The loop of the lab sheet: read, resize, stack, predict, one after another."""
    model = bundles.load_model(bundles.read(settings["bundle"]))
    _, height, width, _ = model.input_shape
    paths, size = files(settings["folder"]), settings["batch_size"]
    batches, scores = _Batches(settings), []
    for start in range(0, len(paths), size):
        batch = []
        for path in paths[start : start + size]:
            image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
            assert image is not None
            batch.append(cv2.resize(image, (width, height)))
        scores.append(model.predict(np.stack(batch)[..., np.newaxis], verbose=0))
        batches.scored(len(batch))
    _write(settings, paths, np.concatenate(scores))
    return batches.rates()


def tf_data(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A plain tf.data pipeline that decodes in parallel, ahead of the model."""
    model = bundles.load_model(bundles.read(settings["bundle"]))
    import keras
    import tensorflow as tf

    _, height, width, _ = model.input_shape
    size, paths = settings["batch_size"], files(settings["folder"])

    def decode(path: Any) -> Any:
        pixels = tf.io.decode_image(tf.io.read_file(path), channels=1, expand_animations=False)
        return tf.cast(tf.image.resize(pixels, (height, width)), tf.uint8)

    data = (
        tf.data.Dataset.list_files(f"{settings['folder']}/*", shuffle=False)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(size)
        .prefetch(tf.data.AUTOTUNE)
    )
    batches = _Batches(settings)
    counts = iter([*[size] * (len(paths) // size), len(paths) % size])
    callback = keras.callbacks.LambdaCallback()
    callback.on_predict_batch_end = lambda batch, logs=None: batches.scored(next(counts))
    scores = model.predict(data, verbose=0, callbacks=[callback])
    _write(settings, paths, scores)
    return batches.rates()


class KerasActor:
    """The callable class of the guides: loads the model once and predicts batches."""

    def __init__(self, bundle: str) -> None:
        self._model = bundles.load_model(bundles.read(bundle))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        scores = self._model.predict(batch["image"], verbose=0)
        ends = np.full(len(scores), time.time())
        return {"path": batch["path"], "score": scores, "scored": ends}


def ray_textbook(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Ray Data as its guides show it: one stage each to read, decode and predict."""
    import os

    import ray

    height, width = (
        getattr(bundles.read(settings["bundle"]).preprocessing, side)
        for side in ("height", "width")
    )

    def decode(batch: dict[str, Any]) -> dict[str, Any]:
        images = []
        for data in batch["bytes"]:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            images.append(cv2.resize(image, (width, height))[..., np.newaxis])
        return {"path": batch["path"], "image": np.stack(images)}

    # an actor holding the only core would wait for the readers forever (ray#44687)
    ray.init(
        address="local",
        num_cpus=max(2, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    size = settings["batch_size"]
    (
        ray.data.read_binary_files(settings["folder"], include_paths=True)
        .map_batches(decode, batch_size=size)
        .map_batches(
            KerasActor,
            fn_constructor_args=(settings["bundle"],),
            batch_size=size,
            concurrency=1,
            num_cpus=1,
        )
        .write_parquet(settings["output"])
    )
    ray.shutdown()
    ends = pq.read_table(settings["output"], columns=["scored"])["scored"].to_numpy()
    batches = _Batches(settings)
    batches.ends = [
        (float(end), int(rows))
        for end, rows in zip(*np.unique(ends, return_counts=True), strict=True)
    ]
    return batches.rates()


def daft_udf(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Daft as its guides show it: download, decode and resize expressions, and the model as UDF."""
    import daft

    preprocessing = bundles.read(settings["bundle"]).preprocessing
    size = settings["batch_size"]

    @daft.udf(
        return_dtype=daft.DataType.struct(
            {
                "score": daft.DataType.list(daft.DataType.float32()),
                "scored": daft.DataType.float64(),
            }
        ),
        batch_size=size,
    )
    class Model:
        def __init__(self) -> None:
            self._model = bundles.load_model(bundles.read(settings["bundle"]))

        def __call__(self, images: Any) -> list[dict[str, Any]]:
            pixels = np.stack(images.to_pylist()).reshape(
                (-1, preprocessing.height, preprocessing.width, 1)
            )
            end = time.time()
            return [
                {"score": score.tolist(), "scored": end}
                for score in self._model.predict(pixels, verbose=0)
            ]

    # decorated, a class is a function of expressions
    scored: Any = Model
    image = daft.col("path").url.download().image.decode(mode="L")
    table = daft.from_pydict({"path": files(settings["folder"])})
    table = table.with_column(
        "image", image.image.resize(preprocessing.width, preprocessing.height)
    )
    table = table.with_column("result", scored(daft.col("image"))).exclude("image")
    table.write_parquet(settings["output"])
    ends = [row["scored"] for row in pq.read_table(settings["output"])["result"].to_pylist()]
    batches = _Batches(settings)
    batches.ends = [
        (float(end), int(rows))
        for end, rows in zip(*np.unique(ends, return_counts=True), strict=True)
    ]
    return batches.rates()


def ceiling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """This project's decoder and engine in one process without Ray: the upper limit."""
    import os

    from cnnjobs.imaging import reading
    from cnnjobs.imaging.preprocessing import decode
    from cnnjobs.models import openvino_export
    from cnnjobs.models.engines import OpenVinoEngine

    described = bundles.read(settings["bundle"])
    preprocessing = described.preprocessing
    size, cpus = settings["batch_size"], os.cpu_count() or 1
    engine = OpenVinoEngine(*openvino_export.read(described), batch_size=size, threads=cpus)
    shape = (size, preprocessing.height, preprocessing.width, 1)
    engine.scores(np.zeros(shape, np.uint8))
    reading.prepare_process()
    paths, scores = files(settings["folder"]), []
    batches, began = _Batches(settings), time.time()

    def pixels(path: str) -> Any:
        return decode(Path(path).read_bytes(), preprocessing).pixels

    with ThreadPoolExecutor(cpus * settings.get("threads_per_cpu", _THREADS_PER_CPU)) as pool:
        ahead = size * settings.get("batches_ahead", _BATCHES_AHEAD)
        decoded = _ahead((pool.submit(pixels, path) for path in paths), ahead)
        for start in range(0, len(paths), size):
            batch = [next(decoded) for _ in paths[start : start + size]]
            scores.append(engine.scores(np.stack(batch)))
            batches.scored(len(batch))
    rate = len(paths) / (time.time() - began)
    _write(settings, paths, np.concatenate(scores))
    return {**batches.rates(), "steady_images_per_second": rate}


def _ahead(futures: "Iterator[Future[Any]]", number: int) -> Iterator[Any]:
    """The results in order, with `number` in flight at once."""
    waiting: list[Future[Any]] = []
    for future in futures:
        waiting.append(future)
        if len(waiting) > number:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _write(settings: Mapping[str, Any], paths: list[str], scores: Any) -> None:
    """Write one row per file, like `write_parquet` in the Ray way."""
    folder = Path(settings["output"])
    folder.mkdir(parents=True)
    table = pa.table({"path": paths, "score": np.asarray(scores).tolist()})
    table = table.set_column(1, "score", table["score"].cast(pa.list_(pa.float32())))
    pq.write_table(table, folder / "scores.parquet")
