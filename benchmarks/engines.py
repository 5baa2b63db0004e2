"""What an image costs each engine on the CPU: the figures behind `--engine auto`."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.archive import write_bundle
from benchmarks.config import PredictBenchmark
from benchmarks.processes import in_process
from cnnjobs.inference.predictor import open_engine
from cnnjobs.models import bundle as bundles

#: Images in a batch.
SIZES = (1, 8, 16, 32, 64)
_REPEATS = 9

#: So many images at least are scored between two readings of the clock.
_IMAGES = 32


def print_costs(model: str, threads: int, *, sizes: Sequence[int] = SIZES) -> None:
    """Print the milliseconds of a processor per image of each engine and size of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = str(Path(folder, "bundle"))
        in_process(write_bundle, bundle=bundle, config=asdict(PredictBenchmark(model=model)))
        found = in_process(costs, bundle=bundle, threads=threads, sizes=sizes)
    print(f"{model}, {threads} threads: processor milliseconds per image, median of {_REPEATS}")
    print("".join(f"{column:>10}" for column in ("batch", *found)))
    for position, size in enumerate(sizes):
        print(f"{size:10}" + "".join(f"{each[position]:10.2f}" for each in found.values()))


def costs(settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """The figures of each engine, by the size of a batch; for a process of its own."""
    from cnnjobs import models

    models.import_keras(threads=settings["threads"])
    import tensorflow as tf

    sizes = settings["sizes"]
    bundle = bundles.read(settings["bundle"])
    model = bundles.load_model(bundle)
    xla = tf.function(lambda images: model(images, training=False), jit_compile=True)
    shape = (bundle.preprocessing.height, bundle.preprocessing.width, 1)
    ways: dict[str, list[Callable[[Any], Any]]] = {
        name: [
            open_engine(bundle, name, batch_size=size, threads=settings["threads"]).scores
            for size in sizes
        ]
        for name in ("openvino", "keras")
    }
    ways["xla"] = [lambda images: xla(images).numpy()] * len(sizes)
    noise = np.random.default_rng(0).integers(0, 256, (max(sizes), *shape), np.uint8)
    measured: dict[str, list[list[float]]] = {name: [[] for _ in sizes] for name in ways}
    # alternating; the first time only warms up
    for repeat in range(_REPEATS + 1):
        for position, size in enumerate(sizes):
            for name, scorers in ways.items():
                seconds = _seconds_per_image(scorers[position], noise[:size])
                if repeat:
                    measured[name][position].append(seconds)
    return {
        name: [1e3 * statistics.median(seconds) for seconds in each]
        for name, each in measured.items()
    }


def _seconds_per_image(score: Callable[[Any], Any], images: Any) -> float:
    times = -(-_IMAGES // len(images))
    began = time.process_time()
    for _ in range(times):
        score(images)
    return (time.process_time() - began) / (times * len(images))
