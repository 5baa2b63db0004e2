"""`python -m benchmarks gpu`: what a GPU does per second here, and what keeps it from doing more.

Each job is the real command on this machine. Beside it stands what the device does with a batch
that is there already, and what the cores decode, so that the slower of both can be named. Without
a GPU it measures the CPU, which only shows that the command works.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks import archive
from benchmarks import train as training_data
from benchmarks.config import GpuBenchmark, PredictBenchmark, TrainBenchmark
from benchmarks.processes import CNNJOBS, in_process, run
from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.progress import Progress, silent

#: Seconds after which no further job is started: with the last one, eight minutes at most.
_LAST_START = 360

#: Epochs of each training; the first, in which everything compiles, is not counted.
_EPOCHS = 4

#: A training that waits for longer than this share of its time needs images sooner.
_WAITS = 0.1

#: Below this share of time with a kernel running, the gaps between kernels count.
_BUSY = 0.6

#: Batches, or images per core, that are timed alone.
_TIMED = 30


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One job.

    Attributes:
        job: what ran, with its settings.
        batch_size: images per step.
        images_per_second: of the whole command, after start-up.
        step_milliseconds: of one batch on the device; in a training, with its update.
        busy_share: of the time, spent in steps rather than waiting for images, from 0 to 1.
        gpu_share: of the time that nvidia-smi saw a kernel running, with start-up; None without it.
        bound_by: what to give more of.
    """

    job: str
    batch_size: int
    images_per_second: float
    step_milliseconds: float
    busy_share: float
    gpu_share: float | None
    bound_by: str


@dataclass(frozen=True, kw_only=True)
class GpuSummary:
    """All jobs for which there was time, and the device."""

    device: str
    num_cpus: int
    seconds: float
    measured: Sequence[Measured]
    left_out: Sequence[str]


def bench_gpu(config: GpuBenchmark, progress: Progress = silent) -> GpuSummary:
    """Train and score with each model and precision, in at most eight minutes.

    Raises:
        InputError: an unknown model.
        CnnjobsError: a process failed.
    """
    began = time.monotonic()
    device = in_process(device_name)["name"]
    jobs = [
        *((model, "train", how) for model in config.models for how in ("float32", "mixed", "jit")),
        *((model, "predict", "float32") for model in config.models),
    ]
    measured, left_out = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, (model, job, how) in enumerate(jobs):
            name = f"{job} {model}, {how}"
            progress("bench", number, len(jobs), name)
            if time.monotonic() - began > _LAST_START:
                left_out.append(name)
                continue
            measure = _trained if job == "train" else _scored
            measured.append(measure(config, model, how, name, Path(folder) / str(number)))
    progress("bench", len(jobs), len(jobs))
    return GpuSummary(
        device=device,
        num_cpus=os.cpu_count() or 1,
        seconds=round(time.monotonic() - began, 1),
        measured=measured,
        left_out=left_out,
    )


def device_name(settings: Mapping[str, Any]) -> dict[str, str]:
    """The GPU that TensorFlow sees, or that it sees none."""
    models.import_keras()
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        return {"name": str(details.get("device_name", device.name))}
    return {"name": "CPU (TensorFlow sees no GPU)"}


def _trained(config: GpuBenchmark, model: str, how: str, name: str, folder: Path) -> Measured:
    folder.mkdir()
    images = TrainBenchmark(model=model, rows=config.rows, seed=config.seed)
    data = training_data.write_archive(images, folder)
    with _gpu_shares() as shares:
        history = in_process(
            training,
            data=data,
            output=str(folder / "run"),
            positive="1" if models.find(model).num_labels == 2 else None,
            model=model,
            how=how,
            batch_size=config.batch_size,
            seed=config.seed,
        )["history"]
    shutil.rmtree(folder)
    waiting = median(epoch["wait_share"] for epoch in history)
    rate = median(epoch["images_per_second"] for epoch in history)
    gpu = fmean(shares) if shares else None
    if waiting > _WAITS:
        bound_by = "images: more cores, or fewer pixels"
    elif gpu is not None and gpu < _BUSY:
        bound_by = "launching kernels: a larger batch, or --jit"
    else:
        bound_by = "the device"
    return Measured(
        job=name,
        batch_size=config.batch_size,
        images_per_second=round(rate, 1),
        step_milliseconds=round(1000 * (1 - waiting) * config.batch_size / rate, 2),
        busy_share=round(1 - waiting, 3),
        gpu_share=None if gpu is None else round(gpu, 3),
        bound_by=bound_by,
    )


def training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A whole training; the history of all epochs but the first."""
    from cnnjobs.training.train import train

    summary = train(
        TrainConfig(
            data=settings["data"],
            output=settings["output"],
            model=settings["model"],
            positive=settings["positive"],
            epochs=_EPOCHS,
            batch_size=settings["batch_size"],
            mixed_precision=settings["how"] == "mixed",
            jit=settings["how"] == "jit",
            seed=settings["seed"],
        )
    )
    return {"history": list(summary.history[1:])}


def _scored(config: GpuBenchmark, model: str, how: str, name: str, folder: Path) -> Measured:
    folder.mkdir()
    images = PredictBenchmark(model=model, rows=config.rows, side=config.side, seed=config.seed)
    archive.write_archive(images, folder / "archive")
    bundle = str(folder / "bundle")
    in_process(archive.write_bundle, config=dataclasses.asdict(images), bundle=bundle)
    parts = {"folder": str(folder / "archive"), "bundle": bundle, "batch_size": config.batch_size}
    step = in_process(engine_seconds, **parts)["seconds"]
    decoded = in_process(decoded_per_second, **parts)["rate"]
    command = [*CNNJOBS, "predict", bundle, str(folder / "archive"), "-o", str(folder / "run")]
    options = ["--engine", "keras", "--batch-size", str(config.batch_size), "--json"]
    with _gpu_shares() as shares:
        summary = json.loads(run([*command, *options], name=name).output)
    shutil.rmtree(folder)
    rate, engine = summary["steady_images_per_second"], config.batch_size / step
    cores = (os.cpu_count() or 1) * engine / decoded
    return Measured(
        job=name,
        batch_size=config.batch_size,
        images_per_second=round(rate, 1),
        step_milliseconds=round(1000 * step, 2),
        busy_share=round(rate / engine, 3),
        gpu_share=round(fmean(shares), 3) if shares else None,
        bound_by=(
            "the device" if decoded > engine else f"decoding: {cores:.0f} cores would keep it busy"
        ),
    )


def engine_seconds(settings: Mapping[str, Any]) -> dict[str, float]:
    """Seconds that the device takes for a batch of zeros, as the median of many."""
    from cnnjobs.models import bundle as bundles
    from cnnjobs.models.engines import KerasEngine

    bundle, size = bundles.read(settings["bundle"]), settings["batch_size"]
    engine = KerasEngine(bundles.load_model(bundle), batch_size=size)
    batch = np.zeros((size, bundle.preprocessing.height, bundle.preprocessing.width, 1), np.uint8)
    engine.scores(batch)
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        engine.scores(batch)
        seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds)}


def decoded_per_second(settings: Mapping[str, Any]) -> dict[str, float]:
    """Images that all cores decode per second when nothing else runs."""
    from cnnjobs.imaging import reading
    from cnnjobs.imaging.preprocessing import decode
    from cnnjobs.models import bundle as bundles

    preprocessing = bundles.read(settings["bundle"]).preprocessing
    cpus = os.cpu_count() or 1
    paths = archive.files(settings["folder"])[: _TIMED * cpus]
    reading.prepare_process()
    start = time.perf_counter()
    with ThreadPoolExecutor(cpus) as pool:
        list(pool.map(lambda path: decode(Path(path).read_bytes(), preprocessing), paths))
    return {"rate": len(paths) / (time.perf_counter() - start)}


@contextlib.contextmanager
def _gpu_shares() -> Iterator[list[float]]:
    """Shares of time with a kernel running, by nvidia-smi, which fill when the block ends."""
    shares: list[float] = []
    program = shutil.which("nvidia-smi")
    if program is None:
        yield shares
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=250"]
    with tempfile.TemporaryFile() as output:
        sampler = subprocess.Popen([program, *query], stdout=output, stderr=subprocess.DEVNULL)
        try:
            yield shares
        finally:
            sampler.terminate()
            sampler.wait()
        output.seek(0)
        lines = output.read().decode().split()
    shares.extend(int(line) / 100 for line in lines if line.isdigit())
