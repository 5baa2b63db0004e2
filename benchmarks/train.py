"""`python -m benchmarks train`: this project's training compared with plain Keras."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.config import TrainBenchmark
from benchmarks.processes import in_process
from benchmarks.summary import BenchSummary, median_of, summarized
from cnnjobs import models
from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.errors import InputError
from cnnjobs.models import Architecture
from cnnjobs.progress import Progress, silent

#: The ways to train that are measured.
FIT, LOOP, ALONE = "model.fit", "loop", "train"
RAY_1, RAY_2 = "train on Ray", "train --workers 2"

#: The number of workers and the address of whole trainings.
_WHOLE: Mapping[str, tuple[int, str | None]] = {
    ALONE: (1, None),
    RAY_1: (1, "local"),
    RAY_2: (2, "local"),
}

#: The way each is compared with.
_COMPARED_WITH = {FIT: FIT, LOOP: FIT, ALONE: FIT, RAY_1: FIT, RAY_2: RAY_1}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Medians of one way to train, without the first epoch of a process, which compiles.

    Attributes:
        name: of the way.
        epoch_seconds: the steps of one epoch.
        images_per_second: during those steps.
        compared_with: the reference for `ratio`.
        ratio: epoch time relative to the reference, the median of the repeats.
        wait_share: share of the epoch spent waiting for images; None for plain Keras.
        startup_seconds: from the command to the end of its first step.
        peak_memory_bytes: of the training process, after each epoch of the first repeat.
    """

    name: str
    epoch_seconds: float
    images_per_second: float
    compared_with: str
    ratio: float
    wait_share: float | None
    startup_seconds: float | None
    peak_memory_bytes: Sequence[float]


def bench_train(config: TrainBenchmark, progress: Progress = silent) -> BenchSummary[Measured]:
    """Time plain `model.fit`, our loop, and whole trainings without Ray and with it.

    The ways alternate, `model.fit` and the loop epoch by epoch, so other load on the machine
    affects all of them equally.

    Raises:
        InputError: an unknown model.
        CnnjobsError: a process failed.
    """
    _architecture(config.model)
    began = time.monotonic()
    repeats: dict[str, list[dict[str, Any]]] = {name: [] for name in _COMPARED_WITH}
    total = config.repeats * 5
    settings = dataclasses.asdict(config)
    with tempfile.TemporaryDirectory() as folder:
        data = write_archive(config, Path(folder))
        for repeat in range(config.repeats):
            done = 5 * repeat
            progress("bench", done, total, f"{FIT} and {LOOP}, alternating")
            both = in_process(loops, config=settings)
            started = in_process(first_step, config=settings)
            repeats[FIT].append({**both[FIT], **started})
            repeats[LOOP].append(both[LOOP])
            for number, (name, (workers, address)) in enumerate(_WHOLE.items()):
                progress("bench", done + 2 + number, total, name)
                repeats[name].append(
                    in_process(
                        whole_training,
                        config=settings,
                        data=data,
                        output=str(Path(folder) / f"run-{repeat}-{number}"),
                        workers=workers,
                        address=address,
                    )
                )
    progress("bench", total, total)
    return summarized(config, _compared(config, repeats), began=began)


def _architecture(name: str) -> Architecture:
    known = models.find(name)
    if not known.is_described:
        raise InputError(f"model must be one that `cnnjobs models` lists, got {name}.")
    return known


def _compared(
    config: TrainBenchmark, repeats: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Measured]:
    seconds = {
        name: median(value for run in runs for value in run["epoch_seconds"])
        for name, runs in repeats.items()
    }
    return [
        Measured(
            name=name,
            epoch_seconds=round(seconds[name], 4),
            images_per_second=round(config.rows / seconds[name], 2),
            compared_with=_COMPARED_WITH[name],
            ratio=round(_ratio(repeats[name], repeats[_COMPARED_WITH[name]]), 4),
            wait_share=median_of(runs, "wait_share"),
            startup_seconds=median_of(runs, "startup_seconds"),
            peak_memory_bytes=runs[0]["peak_memory_bytes"],
        )
        for name, runs in repeats.items()
    ]


def _ratio(runs: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> float:
    """The median over the repeats of the ratio within each, as clocks drift from one to another."""
    own, other = ([median(run["epoch_seconds"]) for run in each] for each in (runs, references))
    ratios: list[float] = [mine / its for mine, its in zip(own, other, strict=True)]
    return median(ratios)


def loops(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Alternate epochs of plain `model.fit` and of our loop in one process."""
    config = TrainBenchmark(**settings["config"])
    images, labels = arrays(config)
    keras = models.import_keras()
    from cnnjobs.training.distributed import loop
    from cnnjobs.training.distributed.batches import InMemory

    theirs, ours = (_compiled(config) for _ in range(2))
    seconds: dict[str, list[float]] = {FIT: [], LOOP: []}

    def timer(name: str) -> Any:
        begun: list[float] = []
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: begun.append(time.perf_counter()),
            on_epoch_end=lambda epoch, logs: seconds[name].append(time.perf_counter() - begun[-1]),
        )

    def fit_once(epoch: int, logs: Any) -> None:
        theirs.fit(images, labels, batch_size=config.batch_size, verbose=0, callbacks=[timer(FIT)])

    history = loop.fit(
        ours,
        InMemory(images, labels),
        epochs=config.epochs + 1,
        global_batch_size=config.batch_size,
        seed=config.seed,
        callbacks=[timer(LOOP), keras.callbacks.LambdaCallback(on_epoch_end=fit_once)],
    )
    # one process has one peak, shared by both
    peaks = [epoch["peak_memory_bytes"] for epoch in history]
    waits = [epoch["wait_share"] for epoch in history[1:]]
    return {
        FIT: {"epoch_seconds": seconds[FIT][1:], "peak_memory_bytes": peaks},
        LOOP: {
            "epoch_seconds": seconds[LOOP][1:],
            "peak_memory_bytes": peaks,
            "wait_share": median(waits),
        },
    }


def first_step(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time plain Keras from its start to the end of its first step."""
    config = TrainBenchmark(**settings["config"])
    images, labels = arrays(config)
    keras = models.import_keras()
    ended: list[float] = []
    _compiled(config).fit(
        images[: config.batch_size],
        labels[: config.batch_size],
        batch_size=config.batch_size,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: ended.append(time.time())
            )
        ],
    )
    return {"startup_seconds": ended[0] - settings["began"]}


def whole_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run a whole training, without an address in a child process."""
    from cnnjobs.training.train import train

    config = TrainBenchmark(**settings["config"])
    stepped: list[float] = []

    def on_progress(step: str, done: int, total: int | None, note: str = "") -> None:
        if step == "train" and done > 0 and not stepped:
            stepped.append(time.time())

    summary = train(
        TrainConfig(
            data=settings["data"],
            output=settings["output"],
            model=config.model,
            positive="1" if _architecture(config.model).num_labels == 2 else None,
            epochs=config.epochs + 1,
            batch_size=config.batch_size,
            workers=settings["workers"],
            seed=config.seed,
            address=settings["address"],
        ),
        on_progress,
    )
    return {
        "epoch_seconds": [epoch["seconds"] for epoch in summary.history[1:]],
        "wait_share": median(epoch["wait_share"] for epoch in summary.history[1:]),
        "startup_seconds": stepped[0] - settings["began"],
        "peak_memory_bytes": [epoch["peak_memory_bytes"] for epoch in summary.history],
    }


def arrays(config: TrainBenchmark) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random images (rows, height, width, 1) uint8, and their classes (rows,) int64."""
    architecture = _architecture(config.model)
    random = np.random.default_rng(config.seed)
    shape = (config.rows, architecture.height, architecture.width, 1)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    # every class occurs, even in few rows
    return images, np.arange(config.rows) % architecture.num_labels


def write_archive(config: TrainBenchmark, folder: Path) -> str:
    """Write the same images as files, all for training; return the manifest."""
    from cnnjobs.data.index import index

    images, labels = arrays(config)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / "images" / str(label) / f"{number:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    manifest = str(folder / "manifest.parquet")
    index(
        IndexConfig(
            sources=(str(folder / "images"),),
            output=manifest,
            validation=0.0,
            test=0.0,
            content=False,
        )
    )
    return manifest


def _compiled(config: TrainBenchmark) -> Any:
    keras = models.import_keras()
    num_labels = _architecture(config.model).num_labels
    keras.utils.set_random_seed(config.seed)
    model = models.build(config.model, num_labels)
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss="binary_crossentropy" if num_labels == 2 else "sparse_categorical_crossentropy",
    )
    return model
