"""What scoring millions of images takes: the driver's share measured, the rest reckoned.

    python -m benchmarks.scale              # measures the driver at 1,000,000 rows: minutes
    python -m benchmarks.scale --model      # prints the table of docs/scaling.md at once

Each measured line has a process of its own, so that the peak memory is the line's alone. The
table takes its rates and prices from the flags: `--model --help` shows them.
"""

import argparse
import importlib
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.index import measure
from cnnjobs import schema
from cnnjobs.cluster import session
from cnnjobs.config import PredictConfig
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import ImageError
from cnnjobs.inference import predictions, ray_pipeline
from cnnjobs.inference.plan import plan
from cnnjobs.inference.predictor import Scoring, prediction_rows
from cnnjobs.models import bundle
from tests.support.bundles import write_bundle

#: Of `cnnjobs predict`: rows of a part.
ROWS_PER_FILE = PredictConfig.rows_per_file

#: Keys that one ListObjectsV2 answers.
KEYS_PER_LIST = 1000


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to measure with")
    parser.add_argument("--model", action="store_true", help="reckon, and measure nothing")
    # docs/benchmarks.md, "Scoring": 102.1 images/s on two cores
    parser.add_argument("--images-per-core", type=float, default=51.0, help="a second")
    parser.add_argument("--cores", type=int, default=128, help="of all workers")
    parser.add_argument("--core-hour", type=float, default=0.045, help="USD, on demand")
    parser.add_argument("--spot", type=float, default=0.4, help="share of that price on spot")
    parser.add_argument("--get", type=float, default=0.0004, help="USD for 1,000 GET")
    parser.add_argument("--put", type=float, default=0.005, help="USD for 1,000 PUT or LIST")
    parser.add_argument("--manifest-bytes", type=float, default=47.0, help="a row, in Parquet")
    parser.add_argument("--row-bytes", type=float, default=68.0, help="a row, handed to Ray")
    # planning and what is handed over, beside the 250 MB of the program itself
    parser.add_argument("--driver-bytes", type=float, default=520.0, help="a row, at the peak")
    given = parser.parse_args()
    if given.model:
        print_model(given)
    else:
        print_measured(given.rows)


def print_model(given: argparse.Namespace) -> None:
    """A column for each number of images, as Markdown."""
    columns = [reckoned(images, given) for images in (1_000_000, 10_000_000, 100_000_000)]
    print("| images | " + " | ".join(column.pop("images") for column in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


def reckoned(images: int, given: argparse.Namespace) -> dict[str, str]:
    """What so many images take, with the rates and prices given."""
    core_hours = images / given.images_per_core / 3600
    lists, puts = images / KEYS_PER_LIST, images / ROWS_PER_FILE
    requests = images / 1000 * given.get + (lists + puts) / 1000 * given.put
    return {
        "images": f"{images // 1_000_000} million",
        "core hours": f"{core_hours:,.0f}",
        f"hours on {given.cores} cores": f"{core_hours / given.cores:,.2f}",
        "machines, on demand": f"{core_hours * given.core_hour:,.2f} USD",
        "machines, spot": f"{core_hours * given.core_hour * given.spot:,.2f} USD",
        "S3: LIST, GET, PUT": f"{lists:,.0f}, {images:,.0f}, {puts:,.0f}",
        "S3 requests": f"{requests:,.2f} USD",
        "manifest": _size(images * given.manifest_bytes),
        "handed to Ray": _size(images * given.row_bytes),
        "driver's memory at its peak": _size(250e6 + images * given.driver_bytes),
    }


def print_measured(rows: int) -> None:
    """A line for each step of the driver's, at a tenth of the rows and at all of them."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    print(f"{'step':52} {'seconds':>8} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # elsewhere: a process starts with the peak of the one that started it
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
            measure(f"look what of {number} rows is done", looked, folder, number)
            size = _manifest(folder, number).stat().st_size
            run = _run(folder, number)
            parts = sum(file.stat().st_size for file in run.rglob("part-*"))
            handed = manifest.read(str(_manifest(folder, number))).table
            handed = handed.select(["path", "label", "size_bytes"])
            print(
                f"bytes a row: manifest {size / number:.0f}, predictions {parts / number:.0f}, "
                f"handed to Ray {handed.nbytes / number:.0f}"
            )


def write_manifest(folder: Path, number: int) -> float:
    start = time.perf_counter()
    manifest.write(Manifest(listed(number), {"sources": []}), str(_manifest(folder, number)))
    return time.perf_counter() - start


def planned(folder: Path, number: int) -> float:
    """All that `predict` decides before Ray starts."""
    config = PredictConfig(
        bundle=str(folder / "bundle"),
        data=str(_manifest(folder, number)),
        output=str(folder / "new"),
    )
    start = time.perf_counter()
    assert plan(config).fingerprints
    return time.perf_counter() - start


class Unread(ray_pipeline.BlockPredictor):
    """A scorer that reads nothing: what is left of a job is Ray's work, and the driver's."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        self._how = scoring
        self._predictor = self._refuse

    def _refuse(self, rows: pa.Table) -> pa.Table:
        errors = [ImageError("unreadable", "not tried")] * rows.num_rows
        zeros = np.zeros((rows.num_rows, 1), np.float32)
        table = prediction_rows(rows, errors, [zeros], self._how)
        for field in schema.MEASURES:
            table = table.append_column(field, pa.repeat(0, rows.num_rows).cast(field.type))
        return table


def passed(folder: Path, number: int) -> float:
    """A job's rows to its scorers and back, on a Ray of its own."""
    # by the name under which Ray's workers can import it
    ray_pipeline.BlockPredictor = importlib.import_module("benchmarks.scale").Unread
    how = Scoring(
        bundles=[bundle.read(str(folder / "bundle"))], engine="openvino", batch_size=32, run_id=""
    )
    rows = manifest.read(str(_manifest(folder, number))).table
    with session.connected("local"):
        start = time.perf_counter()
        assert sum(table.num_rows for table in ray_pipeline.score(rows, how)) == number
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
        str(_run(folder, number)), rows_per_file=ROWS_PER_FILE, partition=None
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


if __name__ == "__main__":
    main()
