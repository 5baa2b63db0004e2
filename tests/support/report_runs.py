"""Runs as a report reads them, with a few synthetic images, made without Ray or training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from cnnjobs import schema
from cnnjobs.config import EvaluateConfig, PredictConfig, TrainConfig, as_dict
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import filesystem, run_dir

#: A name that breaks a page unless it is escaped.
EVIL = """<img src=x onerror=alert(1)> & "two" 'one' é.png"""

#: Label and probability of opacity of each image.
SCORES = (
    ("normal", 0.05),
    ("normal", 0.98),  # the most wrong
    ("normal", 0.45),  # uncertain
    ("opacity", 0.97),
    ("opacity", 0.10),  # wrong
    ("opacity", 0.60),  # uncertain
    (None, 0.99),
    ("opacity", None),  # failed
)


def draw(folder: Path, names: Sequence[str], *, height: int = 40, width: int = 60) -> list[str]:
    """Write noise as PNG files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    for name in names:
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in names]


def predictions(paths: Sequence[str], scores: Sequence[tuple[Any, Any]] = SCORES) -> pa.Table:
    """One row per image, as from a model of two classes with threshold 0.5."""
    rows = [
        {
            "path": path,
            "label": label,
            "prediction": None if score is None else ("normal", "opacity")[score >= 0.5],
            "probability": score,
            "error": "truncated: the PNG ends early" if score is None else None,
            "width": None if score is None else 60,
            "height": None if score is None else 40,
            "model": "",
            "run_id": "",
        }
        for path, (label, score) in zip(paths, scores, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema.predictions(2))


def write_train(uri: str, bundle: Bundle, paths: Sequence[str]) -> None:
    """A finished training, without its bundle."""
    config = TrainConfig(data="xrays/manifest.parquet", output=uri, epochs=2, calibrate=True)
    run = run_dir.start(uri, "train", as_dict(config))
    images = _manifest(paths)
    manifest.write(images, run.path("manifest.parquet"))
    measures = {"learning_rate": 0.001, "gradient_norm": 2.5, "wait_share": 0.125}
    history = [
        {"epoch": 1, "loss": 0.7, "accuracy": 0.5, "val_loss": 0.7, "val_accuracy": 0.5},
        {"epoch": 2, "loss": 0.4, "accuracy": 0.8, "val_loss": 0.5, "val_accuracy": 0.75}
        | measures,
    ]
    summary = {"num_train": 4, "num_validation": 2, "epochs": 2, "seconds": 3.0, "history": history}
    run.finish(manifest=images.fingerprint, model=bundle.name, summary=summary)


def write_evaluate(uri: str, bundle: Bundle, rows: pa.Table, **facts: Any) -> None:
    """A finished evaluation; `facts` are added to its summary."""
    config = EvaluateConfig(bundle=bundle.uri, data="xrays/manifest.parquet", output=uri)
    summary = {
        "split": "test",
        "positive": "opacity",
        "threshold": 0.5,
        "num_images": 6,
        "num_groups": 5,
        "num_failed": 1,
        "counts": {"normal": 3, "opacity": 3},
        "metrics": {"accuracy": 0.6667, "sensitivity": 0.6667, "specificity": None, "auroc": 0.75},
        "intervals": {"accuracy": [0.3, 0.9], "auroc": [0.5123, 0.9456]},
        "confusion": {
            "normal": {"normal": 2, "opacity": 1},
            "opacity": {"normal": 1, "opacity": 2},
        },
        **facts,
    }
    _write_scored(uri, "evaluate", as_dict(config), bundle, rows, summary)


def write_predict(uri: str, bundle: Bundle, rows: pa.Table, *, finished: bool = True) -> None:
    """A scoring run, finished or interrupted."""
    config = PredictConfig(bundle=bundle.uri, data="xrays", output=uri, damaged="score")
    _write_scored(uri, "predict", as_dict(config), bundle, rows, {}, finished=finished)


def _write_scored(
    uri: str,
    command: str,
    config: Mapping[str, Any],
    bundle: Bundle,
    rows: pa.Table,
    summary: Mapping[str, Any],
    *,
    finished: bool = True,
) -> None:
    run = run_dir.start(uri, command, config)
    part = "part-00000.parquet"
    filesystem.write_table(run.path("predictions", part), rows)
    facts = {"manifest": "another", "model": bundle.name}
    if finished:
        run.finish(**facts, files=[part], summary=summary)
    else:
        run.record("failed", **facts)


def _manifest(paths: Sequence[str]) -> Manifest:
    rows = [
        {
            "path": path,
            "label": ("normal", "opacity")[number % 2],
            "source": ("north", "south")[number % 2],
            "size_bytes": 100,
            "group": str(number // 2),
            "split": ("train", "validation", "test")[number % 3],
        }
        for number, path in enumerate(paths)
    ]
    return Manifest(pa.Table.from_pylist(rows, schema.MANIFEST), {"sources": ["xrays"]})
