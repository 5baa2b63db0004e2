"""The cost of scoring millions of images: the driver's part measured, the rest estimated.

Each measured step runs in its own process, so its peak memory is its own.
"""

import importlib
import multiprocessing
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.index import measure
from cnnjobs import schema
from cnnjobs.cluster import session
from cnnjobs.cluster.resources import Request
from cnnjobs.config import PredictConfig
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import ImageError
from cnnjobs.inference import backends, predictions, ray_blocks
from cnnjobs.inference.plan import plan
from cnnjobs.inference.predictor import Scoring, prediction_rows
from cnnjobs.inference.ray_pipeline import RayBackend
from cnnjobs.models import bundle
from tests.support.bundles import write_bundle

#: Of `cnnjobs predict`: rows of a part.
ROWS_PER_FILE = PredictConfig.rows_per_file

#: Keys that one ListObjectsV2 answers.
KEYS_PER_LIST = 1000


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Speeds, sizes and prices that an estimate is based on; see `python -m benchmarks scale`."""

    images_per_core: float
    cores: int
    core_hour: float
    spot: float
    get: float
    put: float
    manifest_bytes: float
    row_bytes: float
    driver_bytes: float


def print_estimate(rates: Rates) -> None:
    """Print a Markdown table with one column per number of images."""
    columns = [estimated(images, rates) for images in (1_000_000, 10_000_000, 100_000_000)]
    print("| images | " + " | ".join(column.pop("images") for column in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


def estimated(images: int, rates: Rates) -> dict[str, str]:
    """Time, cost and size of scoring that many images, each as text."""
    core_hours = images / rates.images_per_core / 3600
    lists, puts = images / KEYS_PER_LIST, images / ROWS_PER_FILE
    requests = images / 1000 * rates.get + (lists + puts) / 1000 * rates.put
    return {
        "images": f"{images // 1_000_000} million",
        "core hours": f"{core_hours:,.0f}",
        f"hours on {rates.cores} cores": f"{core_hours / rates.cores:,.2f}",
        "machines, on demand": f"{core_hours * rates.core_hour:,.2f} USD",
        "machines, spot": f"{core_hours * rates.core_hour * rates.spot:,.2f} USD",
        "S3: LIST, GET, PUT": f"{lists:,.0f}, {images:,.0f}, {puts:,.0f}",
        "S3 requests": f"{requests:,.2f} USD",
        "manifest": _size(images * rates.manifest_bytes),
        "handed to Ray": _size(images * rates.row_bytes),
        "driver's memory at its peak": _size(250e6 + images * rates.driver_bytes),
    }


def print_measured(rows: int) -> None:
    """Print one line per step of the driver, at a tenth of the rows and at all of them."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    print(f"{'step':52} {'seconds':>8} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in another process: a new process inherits the peak memory of its parent
        writing = multiprocessing.get_context("spawn").Process(
            target=write_bundle, args=(folder / "bundle", "covid-gap")
        )
        writing.start()
        writing.join()
        for number in (rows // 10, rows):
            measure(f"write a manifest of {number} rows", write_manifest, folder, number)
            measure(f"plan {number} rows", planned, folder, number)
            measure(f"pass {number} rows through Ray Data", passed, folder, number)
            measure(f"write {number} predictions", write_predictions, folder, number)
            measure(f"find what of {number} rows is done", looked, folder, number)
            size = _manifest(folder, number).stat().st_size
            run = _run(folder, number)
            parts = sum(file.stat().st_size for file in run.rglob("part-*"))
            handed = manifest.read(str(_manifest(folder, number))).table
            handed = handed.select(["path", "label", "size_bytes"])
            print(
                f"bytes per row: manifest {size / number:.0f}, predictions {parts / number:.0f}, "
                f"handed to Ray {handed.nbytes / number:.0f}"
            )


def write_manifest(folder: Path, number: int) -> float:
    start = time.perf_counter()
    manifest.write(Manifest(listed(number), {"sources": []}), str(_manifest(folder, number)))
    return time.perf_counter() - start


def planned(folder: Path, number: int) -> float:
    """Everything `predict` decides before Ray starts."""
    config = PredictConfig(
        bundle=str(folder / "bundle"),
        data=str(_manifest(folder, number)),
        output=str(folder / "new"),
    )
    start = time.perf_counter()
    assert plan(config).fingerprints
    return time.perf_counter() - start


class Unread(ray_blocks.BlockPredictor):
    """A scorer that reads nothing, which leaves the work of Ray and the driver."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        self._scoring = scoring
        # takes the place of the reader and the engine
        setattr(self, "_predictor", self._refuse)  # noqa: B010

    def _refuse(self, rows: pa.Table) -> pa.Table:
        errors = [ImageError("unsupported", "not tried")] * rows.num_rows
        zeros = np.zeros((rows.num_rows, 1), np.float32)
        table = prediction_rows(rows, errors, [zeros], self._scoring)
        for field in schema.MEASURES:
            table = table.append_column(field, pa.repeat(0, rows.num_rows).cast(field.type))
        return table


def passed(folder: Path, number: int) -> float:
    """Send the rows of a job to its scorers and back, on a local Ray."""
    # under the name that Ray's workers import it by
    importable = importlib.import_module("benchmarks.scale").Unread
    setattr(ray_blocks, "BlockPredictor", importable)  # noqa: B010
    how = Scoring(
        bundles=[bundle.read(str(folder / "bundle"))], engine="openvino", batch_size=32, run_id=""
    )
    rows = manifest.read(str(_manifest(folder, number))).table
    with session.connected("local"):
        backend = RayBackend(Request())
        start = time.perf_counter()
        assert sum(table.num_rows for table in backends.score(backend, rows, how)) == number
        return time.perf_counter() - start


def write_predictions(folder: Path, number: int) -> float:
    """The parts of a finished run."""
    paths = manifest.read(str(_manifest(folder, number))).table["path"]
    fields = schema.predictions(2)
    known = {
        "path": paths,
        "label": pa.repeat("normal", number),
        "prediction": pa.repeat("normal", number),
        "probability": pa.array(np.random.default_rng(1).random(number, np.float32)),
        "model": pa.repeat("covid-gap-0123456789abcdef", number),
        "run_id": pa.repeat("20261124T000000Z-0123456789abcdef", number),
    }
    table = pa.table(
        [known.get(field.name, pa.nulls(number, field.type)) for field in fields], schema=fields
    )
    start = time.perf_counter()
    writer = predictions.Writer(
        str(_run(folder, number)), {}, rows_per_file=ROWS_PER_FILE, partition=None
    )
    with writer:
        for first in range(0, number, ROWS_PER_FILE):
            writer.add(table.slice(first, ROWS_PER_FILE))
    return time.perf_counter() - start


def looked(folder: Path, number: int) -> float:
    """What a start does with a run that is there, and what every run ends with."""
    run = str(_run(folder, number))
    paths = manifest.read(str(_manifest(folder, number))).table["path"]
    start = time.perf_counter()
    done = predictions.read(run, predictions.files(run), ["path", "error"])
    assert pc.all(pc.is_in(paths, value_set=done["path"])).as_py()
    assert pc.count_distinct(done["path"]).as_py() == number
    return time.perf_counter() - start


def listed(number: int) -> pa.Table:
    """Rows as a listing of S3 gives them, but for the scheme: names and ETags nothing can guess."""
    rng = np.random.default_rng(0)
    names, tags = (rng.bytes(16 * number).hex() for _ in range(2))
    labels = np.array(["normal", "opacity"])[np.arange(number) % 2]
    paths = [
        f"/mnt/archive/2026/{label}/{names[row * 32 : row * 32 + 16]}.png"
        for row, label in enumerate(labels)
    ]
    times = pa.array(1_700_000_000_000_000 + rng.integers(0, 10**15, number))
    columns = {
        "path": pa.array(paths),
        "label": pa.array(labels),
        "source": pa.repeat("2026", number),
        "size_bytes": pa.array(rng.integers(10**5, 10**6, number)),
        "modified": times.cast(schema.MANIFEST.field("modified").type),
        "etag": pa.array([tags[row * 32 : row * 32 + 32] for row in range(number)]),
        "group": pa.array(paths),
        "split": pa.array(np.array(["train", "validation", "test"])[rng.integers(0, 3, number)]),
    }
    return pa.table(
        [
            columns.get(field.name, pa.nulls(number, field.type)).cast(field.type)
            for field in schema.MANIFEST
        ],
        schema=schema.MANIFEST,
    )


def _manifest(folder: Path, number: int) -> Path:
    return folder / f"{number}.parquet"


def _run(folder: Path, number: int) -> Path:
    return folder / f"run-{number}"


def _size(number: float) -> str:
    return f"{number / 1e6:,.0f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"
