"""Small images from S3: one object each, and in tar, zip and Parquet.

A proxy in a process of its own adds the latency of a real S3 to each request, and counts them.
"""

import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cnnjobs.data.phantoms import phantom
from cnnjobs.data.sources import open_data
from cnnjobs.imaging.decoder import Decoder
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.imaging.reading import Policy
from cnnjobs.storage import s3
from tests.support.fault_proxy import proxy_of
from tests.support.s3_server import serving
from tests.support.shards import WRITERS

#: Images of a shard, and rows decoded at once, about as in a block of `cnnjobs predict`.
_SHARD, _BLOCK = 1000, 512


def print_table(rows: int, side: int, latency_ms: float) -> None:
    """Print images per second and requests for `rows` JPEGs of `side` squared pixels."""
    cpus = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"
    print(f"{cpus}; {rows} JPEG files of {side} x {side} pixels, {latency_ms:g} ms a request")
    print(
        f"{'images in':12} {'list s':>7} {'read and decode s':>18} {'images/s':>9} {'requests':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "buckets")
        write(root, rows, side)
        with serving(root) as endpoint:
            for form in ("objects", *(suffix[1:] for suffix in WRITERS)):
                measure(endpoint, form, latency_ms / 1000)


def write(root: Path, rows: int, side: int) -> None:
    """The same images in four buckets."""
    drawings = []
    for number in range(min(rows, 32)):
        random = np.random.default_rng(number)
        image = phantom(random, height=side, width=side, opacity=bool(number % 2))
        drawings.append(cv2.imencode(".jpg", image)[1].tobytes())
    files = [(f"{number:07d}.jpg", drawings[number % 32]) for number in range(rows)]
    (root / "objects").mkdir(parents=True)
    for name, data in files:
        (root / "objects" / name).write_bytes(data)
    for suffix, writer in WRITERS.items():
        (root / suffix[1:]).mkdir()
        for start in range(0, rows, _SHARD):
            writer(root / suffix[1:] / f"{start:07d}{suffix}", files[start : start + _SHARD])


def measure(endpoint: str, form: str, latency_s: float) -> None:
    """Print one line."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, endpoint, latency_s), daemon=True)
    process.start()
    s3.use(endpoint=ours.recv())
    try:
        began = time.perf_counter()
        table = open_data(f"s3://{form}", for_training=False).table
        listed = time.perf_counter()
        decoder = Decoder(
            [Preprocessing(height=64, width=64)], Policy(), threads=os.cpu_count() or 1
        )
        for start in range(0, table.num_rows, _BLOCK):
            images = [image() for image in decoder.begin(table.slice(start, _BLOCK))]
            assert all(isinstance(image.decoded, list) for image in images)
        seconds = time.perf_counter() - listed
        ours.send(None)
        print(
            f"{form:12} {listed - began:7.2f} {seconds:18.2f} {table.num_rows / seconds:9.0f} "
            f"{ours.recv():9}",
            flush=True,
        )
    finally:
        s3.forget()
        os.environ.pop("AWS_ENDPOINT_URL_S3")
        process.terminate()
        process.join()


def _serve(parent: Any, endpoint: str, latency_s: float) -> None:
    with proxy_of(endpoint) as proxy:
        proxy.latency_s = latency_s
        parent.send(proxy.endpoint)
        parent.recv()
        parent.send(proxy.num_requests)
        parent.recv()
