"""A resumed training uses as many threads as it started with.

The number decides in which order a process adds, and so the last digits of what it trains.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import CrossvalConfig, IndexConfig, TrainConfig, as_dict
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.models import bundle
from cnnjobs.storage import run_dir
from cnnjobs.training.crossval import crossval
from cnnjobs.training.train import train

#: A model whose bias starts at the number of threads, where a tiny learning rate leaves it:
#: on many processors the digits of a sum do not depend on its threads.
MODEL = """
import tensorflow as tf
from keras import Input, Sequential, initializers, layers

def threads(num_labels):
    number = tf.config.threading.get_intra_op_parallelism_threads()
    return Sequential([
        Input((8, 8, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(
            1,
            kernel_initializer="zeros",
            bias_initializer=initializers.Constant(number),
            activation="sigmoid",
        ),
    ])
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two classes of 12 images, and that model."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "model.py").write_text(MODEL)
    random = np.random.default_rng(0)
    for label in ("bright", "normal"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(12):
            image = random.integers(0, 255, (8, 8), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / label / f"{number}.png"), image)
    indexed = index(
        IndexConfig(sources=(str(folder / "images"),), output=str(folder / "manifest.parquet"))
    )
    return {
        "data": indexed.manifest,
        "model": f"{folder / 'model.py'}:threads",
        "learning_rate": 1e-9,
        "epochs": 1,
    }


@pytest.fixture(scope="module")
def crossed(
    ray_session: None, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> CrossvalConfig:
    """The settings of a finished cross-validation of two folds, trained at the same time."""
    output = str(tmp_path_factory.mktemp("runs") / "run")
    config = CrossvalConfig(output=output, folds=2, parallel=2, **settings)
    crossval(config)
    return config


@pytest.mark.slow
def test_a_fold_resumed_alone_has_the_threads_of_the_others_even_if_the_run_did_not_record_them(
    crossed: CrossvalConfig, tmp_path: Path
) -> None:
    run = _without_the_second_fold(crossed, tmp_path)
    record = json.loads((run / "run.json").read_text())
    assert record.pop("threads") == _threads_of_fold(run, 1)
    (run / "run.json").write_text(json.dumps(record))

    def stop(step: str, done: int, total: int | None, note: str = "") -> None:
        if step == "decode":
            raise KeyboardInterrupt

    # the next test shows that what is recorded is what the fold then has
    with pytest.raises(KeyboardInterrupt):
        crossval(dataclasses.replace(crossed, output=str(run), resume=True), stop)

    assert json.loads((run / "run.json").read_text())["threads"] == _threads_of_fold(run, 1)


@pytest.mark.slow
def test_a_fold_resumed_on_another_machine_has_the_threads_that_the_run_recorded(
    crossed: CrossvalConfig, tmp_path: Path
) -> None:
    run = _without_the_second_fold(crossed, tmp_path)
    record = json.loads((run / "run.json").read_text())
    recorded = record["threads"] + 3
    (run / "run.json").write_text(json.dumps({**record, "threads": recorded}))

    crossval(dataclasses.replace(crossed, output=str(run), resume=True, parallel=1))

    assert _threads_of_fold(run, 2) == recorded
    assert json.loads((run / "run.json").read_text())["threads"] == recorded


def test_a_training_resumed_on_another_machine_has_the_threads_that_the_run_recorded(
    alone: None, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(output=str(tmp_path / "run"), resume=True, **settings)
    recorded = len(os.sched_getaffinity(0)) + 3
    _start(config, threads=recorded)

    train(config)

    assert _threads(config.output) == recorded
    assert json.loads((tmp_path / "run" / "run.json").read_text())["threads"] == recorded


@pytest.mark.slow
def test_a_training_resumed_with_other_workers_has_threads_that_suit_them(
    alone: None, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(output=str(tmp_path / "run"), workers=2, **settings)
    _start(config, threads=len(os.sched_getaffinity(0)) + 3)

    train(dataclasses.replace(config, workers=1, resume=True))

    assert _threads(config.output) == len(os.sched_getaffinity(0))


def _start(config: TrainConfig, **facts: Any) -> None:
    """Leave a run as a driver that is killed before the first epoch leaves it."""
    run = run_dir.start(config.output, "train", as_dict(config))
    run.record("running", manifest=manifest.read(config.data).fingerprint, **facts)


def _without_the_second_fold(config: CrossvalConfig, folder: Path) -> Path:
    run = folder / "run"
    shutil.copytree(config.output, run)
    shutil.rmtree(run / "folds" / "repeat-1-fold-2")
    (run / "predictions" / "part-00001.parquet").unlink()
    return run


def _threads_of_fold(run: Path, number: int) -> int:
    """Threads of the process that trained a fold, and scored its test images."""
    threads = _threads(str(run / "folds" / f"repeat-1-fold-{number}"))
    rows = pq.read_table(run / "predictions" / f"part-{number - 1:05d}.parquet")
    assert rows["probability"].to_pylist() == pytest.approx([1 / (1 + np.exp(-threads))] * 12)
    return threads


def _threads(run: str) -> int:
    trained = bundle.load_model(bundle.read(run))
    [bias] = trained.layers[-1].bias.numpy()
    return round(float(bias))
