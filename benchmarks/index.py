"""The cost of indexing: local files, keys on S3, and each step after listing them.

Each line is measured in its own process, so its peak memory is its own. The S3 server only answers
ListObjectsV2, with as many keys as requested, over HTTP to boto3 as a real one would.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pyarrow as pa

from cnnjobs import schema
from cnnjobs.config import IndexConfig
from cnnjobs.data import duplicates, manifest
from cnnjobs.data.index import index
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.splits import assign_splits
from cnnjobs.imaging.perceptual_hash import CROPS, HASH_BYTES
from cnnjobs.storage import s3

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def print_steps(rows: int) -> None:
    """Print seconds and peak memory of each step, for `rows` keys on S3."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {rows} rows")
    print(f"{'step':52} {'seconds':>8} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "archive")
        write_files(files, rows // 10)
        measure(f"index {rows // 10} local files, --no-content", index_folder, files, False)
        measure(f"index {rows // 10} local files of 64 x 64 pixels", index_folder, files, True)
    with listing_stub(rows) as endpoint:
        measure(f"index {rows} keys on S3, --no-content", index_stub, endpoint, rows, True)
        measure(f"index {rows} keys, --no-content --no-split", index_stub, endpoint, rows, False)
        measure(f"index {rows} keys with a table, --no-content", index_with_table, endpoint, rows)
    for title, crops in (("without crops", 0), ("with crops", len(CROPS))):
        measure(f"near copies among {rows // 10} images, {title}", near_copies, rows // 10, crops)
    measure(f"splits of {rows} groups", splits, rows)
    measure(f"joining {rows // 2} pairs of {rows} groups", joined, rows)
    measure(f"fingerprint of {rows} rows", fingerprint, rows)
    measure(f"changes between two listings of {rows} rows", changes, rows)


def measure(title: str, step: Callable[..., float], *arguments: Any) -> None:
    """Run a step, which returns its seconds, in a new process; print them and its peak memory."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_measured, args=(answers, step, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{title}: exit code {process.exitcode}")
    seconds, peak = answers.get()
    print(f"{title:52} {seconds:8.1f} {peak:8.0f}", flush=True)


def _measured(answers: Any, step: Callable[..., float], arguments: tuple[Any, ...]) -> None:
    seconds = step(*arguments)
    answers.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))


def index_folder(folder: Path, content: bool) -> float:
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        index(IndexConfig(sources=(str(folder),), output=f"{output}/m.parquet", content=content))
        return time.perf_counter() - start


def index_stub(endpoint: str, rows: int, split: bool, *, update: bool = False) -> float:
    """Index all keys, or with `update` the seconds of doing it once more."""
    os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any")
    s3.use(endpoint=endpoint, region="us-east-1")
    with tempfile.TemporaryDirectory() as output:
        config = IndexConfig(
            sources=("s3://stub/a",), output=f"{output}/m.parquet", content=False, split=split
        )
        if update:
            index(config)
            config = dataclasses.replace(config, update=True)
        start = time.perf_counter()
        assert index(config).num_images == rows
        return time.perf_counter() - start


def index_with_table(endpoint: str, rows: int) -> float:
    """A CSV file with a row per key: file name, label, patient and three more columns."""
    os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any")
    s3.use(endpoint=endpoint, region="us-east-1")
    with tempfile.TemporaryDirectory() as output:
        table = Path(output, "table.csv")
        with table.open("w") as file:
            file.write("path,finding,patient,age,sex,note\n")
            for row in range(rows):
                label, key = divmod(row, rows // 2)
                day, key = divmod(key, rows // 50)
                name = f"{('normal', 'opacity')[label]}/{day:02d}/{key:07d}.png"
                file.write(f"{name},{'NM'[label]},{row // 3},{row % 90},{'FM'[row % 2]},seen\n")
        start = time.perf_counter()
        index(
            IndexConfig(
                sources=("s3://stub/a",),
                output=f"{output}/m.parquet",
                table=(str(table),),
                content=False,
            )
        )
        return time.perf_counter() - start


def near_copies(number: int, crops: int) -> float:
    rng = np.random.default_rng(0)
    size = HASH_BYTES * (1 + crops)
    hashes = [rng.bytes(size).hex() for _ in range(number - 1)]
    start = time.perf_counter()
    assert duplicates.near_pairs([*hashes, hashes[0]]) == [(0, number - 1)]
    return time.perf_counter() - start


def splits(number: int) -> float:
    labels = pa.chunked_array([[("normal", "opacity")[row % 2] for row in range(number)]])
    groups = pa.chunked_array([[f"archive/{row:07d}.png" for row in range(number)]])
    start = time.perf_counter()
    assign_splits(labels, groups, shares=SHARES, seed=0)
    return time.perf_counter() - start


def joined(number: int) -> float:
    groups = [f"archive/{row:07d}.png" for row in range(number)]
    pairs = [(row, row + 1) for row in range(0, number - 1, 2)]
    start = time.perf_counter()
    duplicates.join_groups(groups, pairs)
    return time.perf_counter() - start


def fingerprint(number: int) -> float:
    table = _table(number)
    start = time.perf_counter()
    assert len(Manifest(table, {}).fingerprint) == 16
    return time.perf_counter() - start


def changes(number: int) -> float:
    table = _table(number)
    start = time.perf_counter()
    found = manifest.changes(table, table.slice(10))
    assert (len(found.new), len(found.changed), len(found.gone)) == (0, 0, 10)
    return time.perf_counter() - start


def write_files(folder: Path, number: int) -> None:
    """PNG files of 64 x 64 pixels, each another one, 1,000 in a folder."""
    rng = np.random.default_rng(0)
    for row in range(number):
        path = folder / ("normal", "opacity")[row % 2] / f"{row // 1000:04d}" / f"{row:07d}.png"
        if row % 1000 < 2:
            path.parent.mkdir(parents=True, exist_ok=True)
        # few gray levels: small files
        pixels = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (64, 64))
        coarse = np.bitwise_and(np.asarray(pixels, np.uint8), 0xF0)
        path.write_bytes(cv2.imencode(".png", coarse)[1].tobytes())


def _table(number: int) -> pa.Table:
    paths = pa.array([f"s3://bucket/archive/normal/{row:07d}.png" for row in range(number)])
    times = pa.array(np.arange(number) + 1_700_000_000_000_000)
    columns = {
        "path": paths,
        "label": pa.repeat("normal", number),
        "source": pa.repeat("archive", number),
        "size_bytes": pa.array(np.arange(number)),
        "modified": times.cast(schema.MANIFEST.field("modified").type),
        "etag": pa.repeat("827ccb0eea8a706c4c34a16891f84e7b", number),
        "group": paths,
        "split": pa.repeat("train", number),
    }
    return pa.table(
        [
            columns.get(field.name, pa.nulls(number, field.type)).cast(field.type)
            for field in schema.MANIFEST
        ],
        schema=schema.MANIFEST,
    )


@contextlib.contextmanager
def listing_stub(number: int) -> Iterator[str]:
    """A server, in a process of its own, of a bucket with so many keys in 50 prefixes."""
    context = multiprocessing.get_context("spawn")
    address = context.SimpleQueue()
    process = context.Process(target=_serve, args=(address, number), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{address.get()}"
    finally:
        process.terminate()
        process.join()


def _serve(address: Any, number: int) -> None:
    handler = type("Stub", (_Stub,), {"per_prefix": number // 50})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address.put(server.server_port)
    server.serve_forever()


class _Stub(BaseHTTPRequestHandler):
    """ListObjectsV2 of `a/<label>/<25 folders>/<image>.png`; a token is a place in a folder."""

    protocol_version = "HTTP/1.1"
    per_prefix: int

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix = query.get("prefix", "")
        folders = [f"a/{label}/{day:02d}/" for label in ("normal", "opacity") for day in range(25)]
        if prefix in folders:
            body = self._keys(prefix, int(query.get("continuation-token", 0)))
        else:
            below = {
                prefix + folder[len(prefix) :].partition("/")[0]
                for folder in folders
                if folder.startswith(prefix)
            }
            body = "".join(
                f"<CommonPrefixes><Prefix>{name}/</Prefix></CommonPrefixes>"
                for name in sorted(below)
            )
        text = f"<ListBucketResult>{body}</ListBucketResult>".encode()
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_HEAD(self) -> None:
        """There is no other object."""
        self.send_response_only(404)
        self.end_headers()

    def _keys(self, prefix: str, first: int) -> str:
        last = min(first + 1000, self.per_prefix)
        keys = "".join(
            f"<Contents><Key>{prefix}{key:07d}.png</Key><LastModified>2024-05-06T07:08:09.000Z"
            f"</LastModified><ETag>&quot;827ccb0eea8a706c4c34a16891f84e7b&quot;</ETag>"
            f"<Size>123456</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in range(first, last)
        )
        if last == self.per_prefix:
            return keys
        token = f"<NextContinuationToken>{last}</NextContinuationToken>"
        return f"<IsTruncated>true</IsTruncated>{token}{keys}"
