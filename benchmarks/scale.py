"""The cost of scoring millions of images: the driver's part measured, the rest estimated.

Each measured step runs in its own process, so its peak memory is its own.
"""

import functools
import importlib
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.index import index_stub, listing_stub, measure
from benchmarks.memory_plots import memory_over_jobs, sampled
from cnnjobs import schema
from cnnjobs.config import PredictConfig, VerifyConfig
from cnnjobs.data import manifest
from cnnjobs.data.streamed import open_images
from cnnjobs.errors import InputError
from cnnjobs.imaging.plots import to_bytes
from cnnjobs.inference import backends, plan, ray_blocks, supervision
from cnnjobs.inference.predict import predict
from cnnjobs.inference.predictor import Scoring
from cnnjobs.inference.verify import verify
from cnnjobs.storage import parquet_files
from tests.support.bundles import write_bundle

#: Of `cnnjobs predict`: rows of a part.
ROWS_PER_FILE = PredictConfig.rows_per_file

#: Keys that one ListObjectsV2 answers.
KEYS_PER_LIST = 1000

#: Rows of a window in the steps on Ray, which take 50 s per million rows.
RAY_WINDOW = 100_000

_LISTED_AT_ONCE = 100_000

#: What a figure can be written as.
_FIGURES = (".png", ".svg", ".pdf")


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
    window = min(images, plan.WINDOW)
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
        "handed to Ray at once": _size(window * rates.row_bytes),
        "driver's memory at its peak": _size(250e6 + window * rates.driver_bytes),
    }


def print_measured(rows: int, plot: Path | None = None) -> None:
    """Print one line per step of the driver, at a tenth of the rows and at all of them.

    Args:
        rows: of the larger manifest.
        plot: file for a figure of the memory while `predict` runs: .png, .svg or .pdf.

    Raises:
        InputError: `plot` has another suffix.
    """
    if plot is not None and plot.suffix not in _FIGURES:
        allowed = ", ".join(_FIGURES)
        raise InputError(f"plot {plot} must end in one of {allowed}; choose another name.")
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
        # a minute each for a million, most of which is the stub's
        for number in (rows // 10, 3 * rows // 10):
            with listing_stub(number) as endpoint:
                measure(f"index {number} keys on S3", index_stub, endpoint, number, False)
                again = functools.partial(index_stub, update=True)
                measure(f"update an index of {number} keys", again, endpoint, number, False)
        for number in (rows // 10, rows):
            measure(f"write a manifest of {number} rows", write_manifest, folder, number)
            measure(f"predict {number} rows, scored by the driver", scored, folder, number)
            measure(f"find that {number} rows are done", found_done, folder, number)
            measure(f"verify {number} rows", verified, folder, number)
            measure(f"update {number} rows, 1% gone, 1% new", updated, folder, number)
            measure(f"plan {number} rows in no order", planned_unordered, folder, number)
            measure(f"plan {number} rows, some excluded", planned_without, folder, number)
            size = _manifest(folder, number).stat().st_size
            parts = sum(file.stat().st_size for file in _run(folder, number).rglob("part-*"))
            print(f"bytes per row: manifest {size / number:.0f}, predictions {parts / number:.0f}")
        if plot is not None:
            jobs = {f"{number:,} rows": _samples(folder, number) for number in (rows // 10, rows)}
            plot.write_bytes(to_bytes(memory_over_jobs(jobs), plot.suffix.lstrip(".")))
        for windows in (1, 3):
            number = windows * RAY_WINDOW
            write_manifest(folder, number)
            measure(f"predict {number} rows on Ray, {windows} windows", on_ray, folder, number)


def write_manifest(folder: Path, number: int) -> float:
    start = time.perf_counter()
    kind = schema.MANIFEST.with_metadata(
        manifest.metadata_of({"sources": ["/mnt/archive"], "ignored": {}})
    )
    with pq.ParquetWriter(_manifest(folder, number), kind, compression="zstd") as file:
        for rows in listed(number):
            file.write_table(rows.replace_schema_metadata(kind.metadata))
    return time.perf_counter() - start


def scored(folder: Path, number: int) -> float:
    """All that `predict` does, with scores that cost nothing, in this process."""
    setattr(backends, "started", lambda *_: nullcontext(_Driver()))  # noqa: B010
    with sampled(_samples(folder, number)):
        return _predict(folder, number, resume=False)


def found_done(folder: Path, number: int) -> float:
    return _predict(folder, number, resume=True)


def on_ray(folder: Path, number: int) -> float:
    """All that `predict` does, with scorers that read nothing, on a local Ray."""
    # under the name that Ray's workers import it by
    importable = importlib.import_module("benchmarks.scale").Unread
    setattr(ray_blocks, "BlockPredictor", importable)  # noqa: B010
    setattr(plan, "WINDOW", RAY_WINDOW)  # noqa: B010
    return _predict(folder, number, overwrite=True, address="local")


def planned_unordered(folder: Path, number: int) -> float:
    """The fingerprint of a manifest in no order, which is sorted in temporary files."""
    with parquet_files.opened(_manifest(folder, number)) as file:
        kind, groups = file.schema_arrow, file.num_row_groups
        with pq.ParquetWriter(folder / "unordered.parquet", kind, compression="zstd") as turned:
            for group in reversed(range(groups)):
                rows = file.read_row_group(group)
                turned.write_table(rows.take(np.random.default_rng(0).permutation(rows.num_rows)))
    start = time.perf_counter()
    assert open_images(str(folder / "unordered.parquet")).fingerprint
    return time.perf_counter() - start


def planned_without(folder: Path, number: int) -> float:
    """What is left of a manifest goes to a temporary file."""
    start = time.perf_counter()
    assert open_images(str(_manifest(folder, number)), exclude=["*0.png"]).count("all") < number
    return time.perf_counter() - start


def verified(folder: Path, number: int) -> float:
    start = time.perf_counter()
    assert verify(VerifyConfig(run=str(_run(folder, number)))).problems == []
    return time.perf_counter() - start


def updated(folder: Path, number: int) -> float:
    """`predict --update` with images that are gone or new, whose scores cost nothing."""
    setattr(backends, "started", lambda *_: nullcontext(_Driver()))  # noqa: B010
    now = folder / "now.parquet"
    _write_changed(_manifest(folder, number), now)
    return _predict(folder, number, data=now, update=True)


def _write_changed(before: Path, now: Path) -> None:
    """A manifest in which one image of a hundred has another name."""
    with (
        parquet_files.opened(before) as file,
        pq.ParquetWriter(now, file.schema_arrow, compression="zstd") as changed,
    ):
        for batch in file.iter_batches(_LISTED_AT_ONCE):
            renamed = batch.slice(0, batch.num_rows // 100).to_pylist()
            for row in renamed:
                row["path"] += ".png"
            rest = batch.slice(len(renamed))
            changed.write_batch(rest)
            changed.write_batch(pa.RecordBatch.from_pylist(renamed, rest.schema))


def _predict(folder: Path, number: int, *, data: Path | None = None, **settings: Any) -> float:
    start = time.perf_counter()
    summary = predict(
        PredictConfig(
            bundle=str(folder / "bundle"),
            data=str(data or _manifest(folder, number)),
            output=str(_run(folder, number)),
            engine="keras",
            **settings,
        )
    )
    assert summary.scored + summary.skipped == summary.indexed >= number
    return time.perf_counter() - start


def _scores(rows: pa.Table, scoring: Scoring) -> pa.Table:
    """A score of 0 for every row."""
    number = rows.num_rows
    known = {
        "path": rows["path"],
        "label": rows["label"],
        "prediction": pa.repeat(scoring.bundles[0].labels[0], number),
        "probability": pa.repeat(0.0, number),
        "model": pa.repeat(scoring.bundles[0].name, number),
        "run_id": pa.repeat(scoring.run_id, number),
        **{field.name: pa.repeat(0, number) for field in schema.MEASURES},
        # a rate needs some time
        "working_seconds": pa.repeat(1.0, number),
    }
    result = pa.unify_schemas([schema.predictions(2), schema.MEASURES])
    columns = [known.get(each.name, pa.nulls(number)).cast(each.type) for each in result]
    return pa.table(columns, schema=result)


class Unread(ray_blocks.BlockPredictor):
    """A scorer that reads nothing, which leaves the work of Ray and the driver."""

    def __init__(self, scoring: Scoring, *, threads: int) -> None:
        # takes the place of the reader and the engine
        setattr(self, "_predictor", functools.partial(_scores, scoring=scoring))  # noqa: B010


class _Driver:
    """A backend, pool and attempt without any other process."""

    has_gpu = False
    object_store_bytes = None

    def publish(self, *_: object) -> None:
        return

    def pool(self, scoring: Scoring) -> "_Driver":
        self._scoring = scoring
        return self

    def attempt(self, rows: pa.Table) -> "_Driver":
        self._blocks = supervision.blocks(rows, self._scoring, num_processes=1)
        return self

    def tables(self) -> Iterator[pa.Table]:
        return (_scores(block, self._scoring) for block in self._blocks)


def listed(number: int) -> Iterator[pa.Table]:
    """Rows as a listing of S3 gives them, but for the scheme: sorted, with names nobody guesses."""
    rng = np.random.default_rng(0)
    for first in range(0, number, _LISTED_AT_ONCE):
        rows = range(first, min(first + _LISTED_AT_ONCE, number))
        tags = rng.bytes(16 * len(rows)).hex()
        labels = ["normal" if 2 * row < number else "opacity" for row in rows]
        etags = [tags[place * 32 : place * 32 + 32] for place in range(len(rows))]
        paths = [
            f"/mnt/archive/2026/{label}/{row:08x}{etag[:8]}.png"
            for row, label, etag in zip(rows, labels, etags, strict=True)
        ]
        times = pa.array(1_700_000_000_000_000 + rng.integers(0, 10**15, len(rows)))
        splits = np.array(["train", "validation", "test"])[rng.integers(0, 3, len(rows))]
        columns = {
            "path": pa.array(paths),
            "label": pa.array(labels),
            "source": pa.repeat("2026", len(rows)),
            "size_bytes": pa.array(rng.integers(10**5, 10**6, len(rows))),
            "modified": times.cast(schema.MANIFEST.field("modified").type),
            "etag": pa.array(etags),
            "group": pa.array(paths),
            "split": pa.array(splits),
        }
        yield pa.table(
            [
                columns.get(field.name, pa.nulls(len(rows), field.type)).cast(field.type)
                for field in schema.MANIFEST
            ],
            schema=schema.MANIFEST,
        )


def _manifest(folder: Path, number: int) -> Path:
    return folder / f"{number}.parquet"


def _samples(folder: Path, number: int) -> Path:
    return folder / f"memory-{number}.json"


def _run(folder: Path, number: int) -> Path:
    return folder / f"run-{number}"


def _size(number: float) -> str:
    return f"{number / 1e6:,.0f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"
