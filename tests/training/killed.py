"""A training that is killed and resumed, and what it leaves beside an uninterrupted one.

`python -m tests.training.killed` prints the table of every callback, schedule and precision:
whether weights, optimizer, history and callbacks are equal to the last bit.
"""

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np

from cnnjobs import models
from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.data.index import index
from cnnjobs.training.train_plan import plan, task_of
from tests.support.bundles import write_bundle
from tests.support.trainings import train_task

EPOCHS = 8

#: What a clock decides.
TIMES = {"seconds", "images_per_second", "wait_share", "peak_memory_bytes"}


class Kill(NamedTuple):
    """After a step of an epoch (both from 1); without one at its end, after its checkpoint."""

    epoch: int
    step: int | None = None


KILLS: Mapping[str, Sequence[Kill]] = {
    "at a step": [Kill(3, 2)],
    "at an epoch's end": [Kill(3)],
    "twice": [Kill(2, 3), Kill(4)],
}

# with these rates the loss falls by less than what counts as an improvement: a plateau
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "constant": {"learning_rate": 1e-2},
    "cosine": {"schedule": "cosine", "learning_rate": 1e-2},
    "plateau": {"schedule": "plateau", "learning_rate": 1e-7},
}

#: The name of a bundle beside the images, of other classes.
_INITIAL = "initial"

CALLBACKS: Mapping[str, Mapping[str, Any]] = {
    "keep best": {"keep": "best", "monitor": "val_accuracy"},
    "early stopping": {"keep": "best", "early_stopping": 5},
    "augment, clip": {"augment": "strong", "clip_norm": 0.1},
    "init": {"init": _INITIAL, "keep": "best"},
    # the kills are before, at and after its end
    "init, freeze": {"init": _INITIAL, "keep": "best", "freeze": "backbone", "unfreeze_at": 4},
}

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


class KilledError(Exception):
    """Stands for whatever ends the process."""


def write_data(folder: Path, *, num_images: int = 40) -> Path:
    """The manifest of noisy images of two classes."""
    random = np.random.default_rng(0)
    for number in range(num_images):
        label = ("bright", "dark")[number % 2]
        (folder / "images" / label).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 200, (28, 28), np.uint8) + np.uint8(20 * (label == "bright"))
        cv2.imwrite(str(folder / "images" / label / f"{number}.png"), pixels)
    manifest = folder / "manifest.parquet"
    index(IndexConfig(sources=(str(folder / "images"),), output=str(manifest)))
    return manifest


def config_of(data: Path, output: Path, **settings: Any) -> TrainConfig:
    common = {"model": "digits", "positive": "bright", "epochs": EPOCHS, "batch_size": 8}
    if "init" in settings:
        initial = data.with_name(settings["init"])
        if not initial.exists():
            write_bundle(initial, "digits")
        settings["init"] = str(initial)
    return TrainConfig(data=str(data), output=str(output), **{**common, **settings})


def left(config: TrainConfig, kills: Sequence[Kill], *, precision: str = "float32") -> object:
    """The last checkpoint of a training that was killed and resumed, and the best one."""
    planned = plan(config)
    task = task_of(planned, planned.output)
    module = "cnnjobs.training.distributed.fit_model"
    with (
        # what the device would decide
        mock.patch(f"{module}._policy", return_value=precision),
        # the last time when all is trained: the bundle takes longer than the training
        mock.patch(f"{module}._write_bundle", side_effect=KilledError),
    ):
        for kill in (*kills, None):
            with contextlib.suppress(KilledError):
                train_task(task, callbacks=[_killer(kill)])
    # which the bundle would have set
    models.import_keras().mixed_precision.set_global_policy("float32")
    return [_content(file) for file in sorted(Path(config.output, "checkpoints").glob("*.npz"))]


def _killer(kill: Kill | None) -> Any:
    import keras

    epoch_now = 0

    def begin(epoch: int, logs: object) -> None:
        nonlocal epoch_now
        epoch_now = epoch + 1

    def end_step(step: int, logs: object) -> None:
        if kill == (epoch_now, step + 1):
            raise KilledError

    def end_epoch(epoch: int, logs: object) -> None:
        if kill == (epoch_now, None):
            raise KilledError

    return keras.callbacks.LambdaCallback(
        on_epoch_begin=begin, on_epoch_end=end_epoch, on_train_batch_end=end_step
    )


def _content(file: Path) -> tuple[str, list[bytes], object]:
    """The name of a checkpoint, the bits of its arrays, and its state without times."""
    with np.load(file) as arrays:
        state = json.loads(arrays["state"].tobytes())
        bits = [arrays[name].tobytes() for name in arrays.files if name != "state"]
    for epoch in state.get("history", ()):
        for name in TIMES:
            del epoch[name]
    return file.name, bits, state


def differing(
    data: Path, folder: Path, callbacks: str, schedule: str, precision: str
) -> Iterator[tuple[str, bool]]:
    """How a training is killed, and whether it then ends otherwise than an uninterrupted one."""
    settings = {**SCHEDULES[schedule], **CALLBACKS[callbacks]}
    whole = left(config_of(data, folder / "whole", **settings), (), precision=precision)
    for name, kills in KILLS.items():
        config = config_of(data, folder / name.replace(" ", "-"), **settings)
        yield name, left(config, kills, precision=precision) != whole


def print_table() -> None:
    """Print the table in Markdown."""
    began = time.monotonic()
    columns = ["callbacks", "schedule", *PRECISIONS]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        data = write_data(Path(name))
        for number, (callbacks, schedule) in enumerate(itertools.product(CALLBACKS, SCHEDULES)):
            cells = []
            for precision in PRECISIONS:
                folder = Path(name, f"{number}-{precision}")
                found = differing(data, folder, callbacks, schedule, precision)
                bad = [killed for killed, differs in found if differs]
                cells.append(f"DIFFERS {', '.join(bad)}" if bad else "equal")
            print(f"| {' | '.join([callbacks, schedule, *cells])} |", flush=True)
    print(f"\nKilled {', '.join(KILLS)}; {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    print_table()
