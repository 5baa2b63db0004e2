"""From files to gradients on three Ray Train workers: every path of the split once per epoch."""

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from cnnjobs import progress
from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.training import ray_process
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.ray_tf_config import TfConfig

SIZE = 10
NUM_IMAGES = SIZE * SIZE
BATCH_SIZE = 8


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Images with a single white pixel, at the position given by their number."""
    folder = tmp_path_factory.mktemp("points")
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
        model="unused",
        architecture="unused",
        labels=["class0", "class1"],
        positive="class1",
        targets={"class0": 0, "class1": 1},
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        manifest_fingerprint="unused",
        run_uri=str(folder / "run"),
        rows=manifest.read(data).table,
    )


@pytest.fixture(scope="module")
def moved(
    ray_session: None, task: Task, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[float]]:
    """How often the weight of each pixel was moved in an epoch, from memory and streamed."""
    folder = tmp_path_factory.mktemp("paths")
    inputs = ray_process.ProcessInputs(
        blocks=ray_process.decode_once(task, progress.silent),
        threads=1,
        reports=ray_process.new_queue(),
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    DataParallelTrainer(
        train_loop_per_worker,
        train_loop_config={"task": task, "inputs": inputs, "folder": str(folder)},
        backend_config=TfConfig(),
        # the tasks that decode streamed images need a core
        scaling_config=ScalingConfig(num_workers=3, resources_per_worker={"CPU": 0.3}),
        run_config=RunConfig(storage_path=str(folder)),
    ).fit()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    moved: dict[str, list[float]] = json.loads((folder / "moved.json").read_text())
    return moved


@pytest.mark.parametrize("way", ["memory", "stream"])
def test_three_workers_train_on_every_path_of_the_split_once(
    moved: dict[str, list[float]], task: Task, way: str
) -> None:
    rows = pq.read_table(task.config.data).to_pylist()
    split = [row["path"] for row in rows if row["split"] == "train"]
    paths = {int(Path(row["path"]).stem): row["path"] for row in rows}
    seen = Counter({paths[number]: times for number, times in enumerate(moved[way]) if times})

    # divisible neither by the workers nor by the batch size
    assert len(split) % 3
    assert len(split) % BATCH_SIZE
    assert seen == pytest.approx(Counter(split))


def train_loop_per_worker(config: dict[str, Any]) -> None:
    from cnnjobs.training.distributed.workers import join

    inputs = config["inputs"]
    inputs.import_keras()
    workers = join()
    moved = {
        way: pixels_moved(each.sets(config["task"])[0], workers)
        for way, each in (
            ("memory", inputs),
            ("stream", dataclasses.replace(inputs, blocks=None)),
        )
    }
    if workers.rank == 0:
        Path(config["folder"], "moved.json").write_text(json.dumps(moved))


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
