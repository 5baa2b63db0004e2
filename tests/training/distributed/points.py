"""Images of which each moves one weight of a model: how often tells who trained on what."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.training.distributed.task import Task

SIZE = 10
NUM_IMAGES = SIZE * SIZE
BATCH_SIZE = 8


def task_on_points(folder: Path) -> Task:
    """Images with a single white pixel, at the position given by their number."""
    for number in range(NUM_IMAGES):
        image = np.zeros(NUM_IMAGES, np.uint8)
        image[number] = 255
        file = folder / "images" / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image.reshape(SIZE, SIZE))
    data = str(folder / "manifest.parquet")
    index(IndexConfig(sources=(str(folder / "images"),), output=data, content=False))
    return Task(
        config=TrainConfig(data=data, output=str(folder / "run"), batch_size=BATCH_SIZE),
        model="digits",
        architecture="digits",
        labels=["class0", "class1"],
        positive="class1",
        targets={"class0": 0, "class1": 1},
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        manifest_fingerprint="unused",
        run_uri=str(folder / "run"),
        rows=manifest.read(data).table,
    )


def moved(task: Task, inputs: Any, workers: Any) -> Mapping[str, list[float]]:
    """How often the weight of each pixel was moved in an epoch, from memory and streamed."""
    streamed = dataclasses.replace(inputs, blocks=None)
    return {
        way: pixels_moved(each.sets(task)[0], workers)
        for way, each in (("memory", inputs), ("stream", streamed))
    }


def pixels_moved(images: Any, workers: Any) -> list[float]:
    """Train an epoch in which each row moves the weight of its pixel by 1 / (rows of its batch)."""
    import keras

    from cnnjobs.training.distributed.loop import fit

    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    model.compile(keras.optimizers.SGD(1.0), lambda labels, scores: scores[:, 0])

    before, moved = np.zeros(NUM_IMAGES), np.zeros(NUM_IMAGES)

    def record(batch, logs):  # type: ignore[no-untyped-def]
        num_rows = min(BATCH_SIZE, len(images) - batch * BATCH_SIZE)
        now = model.get_weights()[0][:, 0].astype(np.float64)
        moved[:] += (before - now) * num_rows
        before[:] = now

    fit(
        model,
        images,
        epochs=1,
        global_batch_size=BATCH_SIZE,
        seed=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=record)],
        workers=workers,
    )
    return [float(times) for times in np.round(moved, 4)]


def refused(task: Task, inputs: Any, workers: Any) -> str:
    """Why a training cannot be resumed."""
    from cnnjobs.errors import TrainingError
    from cnnjobs.training.distributed.fit_model import train_model

    try:
        train_model(task, *inputs.sets(task), workers=workers)
    except TrainingError as error:
        return str(error)
    return ""
