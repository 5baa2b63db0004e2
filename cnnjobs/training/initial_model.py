"""The bundle that a training starts from: what must match, and which images it has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TEST, VALIDATION
from cnnjobs.errors import InputError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """A bundle to start from.

    Attributes:
        bundle: whose weights are taken.
        keeps_head: whether the last layer is, too: the classes are the same.
        seen: the images that it was trained and validated on.
        warnings: what the user should know.
    """

    bundle: Bundle
    keeps_head: bool
    seen: pa.Table
    warnings: Sequence[str]


def read(
    config: TrainConfig, rows: pa.Table, labels: Sequence[str], positive: str | None
) -> InitialModel | None:
    """The bundle that `config.init` names; None if it names none.

    Args:
        config: the settings.
        rows: of the manifest, with their splits.
        labels: the classes of the training.
        positive: of two classes, the positive one.

    Raises:
        BundleError: there is no such bundle.
        InputError: it has seen images of the test split.
    """
    if config.init is None:
        return None
    bundle = bundles.read(config.init)
    seen = bundles.seen_images(bundle)
    num_test = _num_seen(rows, TEST, seen)
    if num_test:
        raise InputError(
            f"{num_test} images to test on were used to train {config.init}; start from a model "
            "that has not seen them, or index them into split train."
        )
    keeps_head = (list(labels), positive) == (list(bundle.labels), bundle.positive)
    warnings = []
    if not keeps_head:
        warnings.append(
            f"the last layer is initialized again: the classes of {config.init} are "
            f"{_classes(bundle.labels, bundle.positive)}, here {_classes(labels, positive)}."
        )
    num_validation = _num_seen(rows, VALIDATION, seen)
    if num_validation:
        warnings.append(
            f"{num_validation} validation images were used to train {config.init}; the metrics on "
            "this split are too good."
        )
    return InitialModel(bundle=bundle, keeps_head=keeps_head, seen=seen, warnings=warnings)


def check_same(initial: InitialModel, architecture: str, preprocessing: Preprocessing) -> None:
    """Raise unless the model is the same, and sees images as the initial one did.

    Raises:
        InputError: names the differences.
    """
    bundle = initial.bundle
    if bundle.architecture != architecture:
        raise InputError(
            f"{bundle.uri} is a {bundle.architecture}, model is {architecture}; train with --model "
            f"{bundle.architecture}, or start from another bundle."
        )
    before, now = vars(bundle.preprocessing), vars(preprocessing)
    differences = [
        f"{name} was {before[name]}, is {value}"
        for name, value in now.items()
        if before[name] != value
    ]
    if differences:
        raise InputError(
            f"{bundle.uri} was trained on other pixels ({'; '.join(differences)}); give the same "
            "settings, or start from another bundle."
        )


def check_freeze(config: TrainConfig) -> None:
    """Raise if a backbone with random weights would be frozen.

    Raises:
        InputError: it has no initial weights; a user's own model may bring some.
    """
    is_random = config.init is None and config.weights is None
    if config.freeze is not None and is_random and not models.is_user_model(config.model):
        raise InputError(
            "freeze keeps the weights that the backbone starts with, which are random; give "
            "--init or --weights, or leave it out."
        )


def all_seen(initial: InitialModel | None, rows: pa.Table) -> pa.Table:
    """The images that the trained model will have seen, also through its initial model."""
    if initial is None:
        return rows
    names = initial.seen.column_names
    return pa.concat_tables([rows.select(names), initial.seen.cast(rows.select(names).schema)])


def _num_seen(rows: pa.Table, split: str, seen: pa.Table) -> int:
    """How many images of a split are among those seen, by content where it is known, or by path."""
    of_split = rows.filter(pc.equal(rows["split"], split))
    is_known = [
        pc.and_(
            pc.is_valid(of_split[name]),
            pc.is_in(of_split[name], pc.drop_null(seen[name].combine_chunks())),
        )
        for name in ("content_hash", "path")
    ]
    return pc.sum(pc.or_(*is_known)).as_py() or 0


def _classes(labels: Sequence[str], positive: str | None) -> str:
    return ", ".join(f"{label} (positive)" if label == positive else label for label in labels)
