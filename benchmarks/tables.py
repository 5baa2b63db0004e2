"""`cnnjobs index --table` for each named layout, on a table of the shape of its public set.

The images are empty files that no step opens (`--no-content`). Each line is measured in a process
of its own, so its peak memory is its own.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.index import measure
from cnnjobs.config import IndexConfig, checks
from cnnjobs.config.files import resolve
from cnnjobs.data.index import index
from tests.support.label_tables import LAYOUTS

#: What writes the tables of a layout, and images, to a folder; returns the names of the tables.
WRITERS: Mapping[str, Callable[[Path, int], list[str]]] = LAYOUTS

#: Rows of the tables for each patient; see `tests.support.label_tables`.
ROWS_PER_PATIENT = {"nih14": 2, "chexpert": 2.5, "covidx": 2, "ieee8023": 2}


def print_layouts(rows: int, layouts: Sequence[str] = ()) -> None:
    """Print seconds and peak memory of these layouts, or of all, for a table of `rows` rows."""
    for layout in layouts:
        checks.choice("layout", layout, tuple(WRITERS))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {rows} rows")
    print(f"{'layout':52} {'seconds':>8} {'peak MB':>8}")
    for layout in layouts or WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            tables = WRITERS[layout](Path(folder), round(rows / ROWS_PER_PATIENT[layout]))
            measure(layout, index_table, folder, layout, tables)


def index_table(folder: str, layout: str, tables: list[str]) -> float:
    """Seconds that it takes to index the images of a folder with its tables."""
    settings = {
        "sources": (f"{folder}/images",),
        "output": f"{folder}/manifest.parquet",
        "table": tuple(f"{folder}/{name}" for name in tables),
        "layout": layout,
        "content": False,
    }
    start = time.perf_counter()
    index(resolve(IndexConfig, settings))
    return time.perf_counter() - start
