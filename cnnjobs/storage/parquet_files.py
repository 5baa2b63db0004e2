"""Parquet files that are read or written a few rows at a time."""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping
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


@contextlib.contextmanager
def writing(
    file: str, kind: pa.Schema, metadata: Callable[[], Mapping[bytes, bytes]]
) -> Iterator[pq.ParquetWriter]:
    """A writer of tables of this schema, whose metadata are asked for after the last one.

    pyarrow reads metadata from the schema that it stores in the file, which it would store first.
    """
    with pq.ParquetWriter(file, kind, compression="zstd", store_schema=False) as writer:
        yield writer
        facts = metadata()
        stored = base64.b64encode(kind.with_metadata(facts).serialize())
        writer.add_key_value_metadata({**facts, b"ARROW:schema": stored})
