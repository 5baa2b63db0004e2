"""The weight of each training row in the loss; it depends on the rows, never on the workers."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TRAIN

#: Sources listed in a warning.
_NUM_NAMED = 5


def row_weights(
    config: TrainConfig, targets: NDArray[np.int64], sources: NDArray[np.str_]
) -> NDArray[np.float32] | None:
    """The weight of each row, (N,), with a sum of N; None if all weights are 1.

    With `balance`, every pair of class and source has the same total weight: if each source has
    images of every class, the source then says nothing about the class. With `class_weight`,
    every class has the same total weight. With both, so has each source within its class.

    Args:
        config: `balance` and `class_weight`.
        targets: (N,) class numbers.
        sources: (N,) names.
    """
    if config.balance is None and config.class_weight is None:
        return None
    classes = _numbered(targets)
    weights = np.ones(len(targets))
    if config.balance is not None:
        weights = _with_equal_sums(weights, _numbered(sources) * len(targets) + classes)
    if config.class_weight is not None:
        weights = _with_equal_sums(weights, classes)
    return weights.astype(np.float32)


def balance_warnings(config: TrainConfig, rows: pa.Table) -> list[str]:
    """A warning if balancing the sources of these rows of a manifest cannot help, or none."""
    if config.balance is None:
        return []
    labels_of = _labels_of_sources(rows)
    if len(labels_of) == 1:
        only = next(iter(labels_of))
        return [f"balance source changes nothing: all images are from source {only}."]
    single = [f"{source} ({labels[0]})" for source, labels in labels_of.items() if not labels[1:]]
    if not single:
        return []
    named = _named(single)
    return [f"balance source cannot help if a source has only one class: {named}."]


def source_warnings(rows: pa.Table) -> list[str]:
    """A warning if the source of these rows of a manifest reveals their class."""
    labels_of = _labels_of_sources(rows)
    labels = {label for found in labels_of.values() for label in found}
    if len(labels) < 2 or any(len(found) > 1 for found in labels_of.values()):
        return []
    named = _named([f"{source} ({found[0]})" for source, found in labels_of.items()])
    return [
        f"every source has images of one class only: {named}. No setting can teach the model the "
        "class apart from the source, and its score on these data would not show it; add images "
        "of another class to a source."
    ]


def _labels_of_sources(rows: pa.Table) -> dict[str, list[str]]:
    """The classes of each source's training images."""
    cells = rows.group_by(["split", "source", "label"], use_threads=False).aggregate([])
    labels_of: dict[str, list[str]] = {}
    for cell in cells.to_pylist():
        if cell["split"] == TRAIN:
            labels_of.setdefault(cell["source"], []).append(cell["label"])
    return labels_of


def _named(single: Sequence[str]) -> str:
    rest = [f"and {len(single) - _NUM_NAMED} more"] if len(single) > _NUM_NAMED else []
    return ", ".join([*single[:_NUM_NAMED], *rest])


def _with_equal_sums(weights: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weights, scaled to the same sum in each cell and to a total of N."""
    numbers = _numbered(cells)
    sums = np.bincount(numbers, weights)
    scaled: NDArray[np.float64] = weights * (len(weights) / (len(sums) * sums))[numbers]
    return scaled


def _numbered(values: NDArray[np.int64] | NDArray[np.str_]) -> NDArray[np.int64]:
    """The values as consecutive numbers from 0."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
