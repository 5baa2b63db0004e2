"""What is to be trained: light enough for the driver, which never imports TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.config import TrainConfig
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import Architecture, OwnModel
from cnnjobs.training.distributed.batches import Source


class LabelledSource(Source, Protocol):
    """A source that knows all its classes at once, and what it had to leave out.

    `targets` and `sources`, the names of the collections, are (N,).
    """

    targets: NDArray[np.int64]
    sources: NDArray[np.str_]
    num_failed: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker must know to train one model.

    Attributes:
        config: model, epochs, batch size, learning rate, seed and the like.
        model: what to build, in any process.
        architecture: its name.
        labels: the classes, in the order of the model's outputs if there are more than two.
        positive: of two classes the one whose probability the model gives.
        targets: number of each label.
        preprocessing: how pixels are made of files.
        manifest_fingerprint: of the manifest the rows are from.
        run_uri: where rank 0 writes `bundle`, `checkpoints` and `tensorboard`.
        rows: of the manifest, in splits train and validation.
    """

    config: TrainConfig
    model: str | OwnModel
    architecture: str
    labels: Sequence[str]
    positive: str | None
    targets: Mapping[str, int]
    preprocessing: Preprocessing
    manifest_fingerprint: str
    run_uri: str
    rows: pa.Table


def preprocessing(config: TrainConfig, architecture: Architecture) -> Preprocessing:
    """What the settings make of images for that architecture."""
    return Preprocessing(
        height=architecture.height,
        width=architecture.width,
        scaled_jpeg=True,
        crop=config.crop,
        mask_corners=config.mask_corners,
        equalize=config.equalize,
    )
