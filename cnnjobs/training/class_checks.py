"""Which classes and splits a training needs: what its settings ask of the images."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.errors import InputError

#: Labels of images without the finding: the other class is the positive one.
_NEGATIVE_NAMES = ("normal", "negative", "healthy", "control", "no_finding", "no-finding")


def count(rows: pa.Table) -> Mapping[tuple[str, str], int]:
    """Images by split and label."""
    return Counter(zip(rows["split"].to_pylist(), rows["label"].to_pylist(), strict=True))


def check_classes(
    config: TrainConfig, labels: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> None:
    """Raise InputError unless there are two classes, each with training images."""
    if len(labels) < 2:
        found = f"only one: {labels[0]}" if labels else "none"
        raise InputError(
            f"training needs at least two classes, {config.data} has {found}; put the images of "
            "each class in a separate folder."
        )
    for label in labels:
        if counts.get((TRAIN, label), 0) == 0:
            raise InputError(
                f"class {label} has no images in split {TRAIN}; index with splits, or add images."
            )


def check_monitor(
    config: TrainConfig, labels: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> None:
    """Raise InputError unless every epoch will have the monitored metric."""
    is_auroc = config.monitor == "val_auroc"
    if is_auroc and len(labels) > 2:
        raise InputError(
            f"val_auroc is for two classes, {config.data} has {len(labels)}; monitor val_accuracy "
            "or val_loss."
        )
    missing = _without_validation(labels, counts)
    if config.uses_monitor and len(missing) == len(labels):
        raise InputError(
            f"{config.monitor} needs validation images, {config.data} has none; index with "
            "--validation above 0."
        )
    if config.uses_monitor and is_auroc and missing:
        raise InputError(
            f"val_auroc needs validation images of both classes, {missing[0]} has none; index with "
            "--validation above 0, or monitor val_loss."
        )


def undefined(labels: Sequence[str], counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Why the validation split of two classes has no AUROC; empty if it has one."""
    known = [label for label in labels if counts.get((VALIDATION, label))]
    if len(labels) != 2 or len(known) != 1:
        return []
    return [f"no val_auroc: all validation images are {known[0]}."]


def _without_validation(labels: Sequence[str], counts: Mapping[tuple[str, str], int]) -> list[str]:
    return [label for label in labels if not counts.get((VALIDATION, label))]


def check_threshold(
    config: TrainConfig, labels: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> None:
    """Raise InputError unless threshold and temperature can be chosen, if they are to be."""
    if config.threshold_rule != TrainConfig.threshold_rule and len(labels) > 2:
        raise InputError(
            f"threshold_rule is for two classes, {config.data} has {len(labels)}; leave it out."
        )
    missing = _without_validation(labels, counts)
    if missing and config.decides_on_validation:
        raise InputError(
            f"threshold_rule and calibrate need validation images of every class, {missing[0]} "
            "has none; index with --validation above 0."
        )


def positive(config: TrainConfig, labels: Sequence[str]) -> str:
    """The class whose probability the model gives: the named one, or the opposite of `normal`."""
    if config.positive is not None:
        if config.positive not in labels:
            raise InputError(
                f"positive must be one of the classes {', '.join(labels)}, got {config.positive}."
            )
        return config.positive
    others = [label for label in labels if label.lower() not in _NEGATIVE_NAMES]
    if len(others) != 1:
        raise InputError(
            f"which class is positive, {' or '.join(labels)}? Name it with --positive."
        )
    return others[0]
