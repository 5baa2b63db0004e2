"""Parquet files that are read a few rows at a time."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def opened(source: Path | pa.NativeFile | Any) -> pq.ParquetFile:
    """A file whose `iter_batches` holds the row group that it reads, and none before.

    By default pyarrow keeps the compressed bytes of all that was read until the last row
    (`pre_buffer`; as apache/arrow#39808 has it of datasets).
    """
    return pq.ParquetFile(source, pre_buffer=False)
