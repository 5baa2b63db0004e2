"""The description of a training, without TensorFlow, which the driver never imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.config import TrainConfig
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import Architecture, UserModel
from cnnjobs.training.distributed.batches import Source
from cnnjobs.training.initial_model import InitialModel


class LabelledSource(Source, Protocol):
    """A source with all class numbers and collection names, both (N,), in memory.

    `num_failed` counts the images it left out because they could not be read.
    """

    targets: NDArray[np.int64]
    sources: NDArray[np.str_]
    num_failed: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything a worker needs to train one model.

    Attributes:
        config: epochs, batch size, learning rate, seed and other settings.
        model: what to build, in any process.
        architecture: name of the model's architecture.
        labels: the classes; if there are more than two, in the order of the model's outputs.
        positive: of two classes, the one whose probability the model gives.
        targets: number of each label.
        preprocessing: turns files into pixels.
        manifest_fingerprint: of the manifest that the rows come from.
        run_uri: where rank 0 writes `bundle`, `checkpoints` and `tensorboard`.
        rows: of the manifest, in splits train and validation.
        initial: the bundle to start from.
    """

    config: TrainConfig
    model: str | UserModel
    architecture: str
    labels: Sequence[str]
    positive: str | None
    targets: Mapping[str, int]
    preprocessing: Preprocessing
    manifest_fingerprint: str
    run_uri: str
    rows: pa.Table
    initial: InitialModel | None = None


def preprocessing(config: TrainConfig, architecture: Architecture) -> Preprocessing:
    """The preprocessing for this architecture with these settings."""
    return Preprocessing(
        height=architecture.height,
        width=architecture.width,
        scaled_jpeg=True,
        crop=config.crop,
        mask_corners=config.mask_corners,
        equalize=config.equalize,
        square=architecture.square,
    )
