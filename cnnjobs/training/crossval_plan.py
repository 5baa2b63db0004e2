"""What `cnnjobs crossval` would do, decided before Ray starts: which rows train and test what."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import models
from cnnjobs.config import CrossvalConfig
from cnnjobs.config.constants import TEST, TRAIN, VALIDATION
from cnnjobs.data import sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, s3
from cnnjobs.training import folds, train_plan
from cnnjobs.training.folds import Fold
from cnnjobs.training.train_plan import TrainPlan


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """A fold, and the training that it needs."""

    fold: Fold
    training: TrainPlan


@dataclass(frozen=True, kw_only=True)
class CrossvalPlan:
    """What a cross-validation would do.

    Attributes:
        config: its settings.
        manifest: all images.
        rows: of the manifest, those that are readable and have a label.
        left_over: how many images are not in `rows`, by reason.
        folds: in the order in which they are trained.
        not_left_out: why a source cannot be left out, by source.
        output: the run directory.
    """

    config: CrossvalConfig
    manifest: Manifest
    rows: pa.Table
    left_over: Mapping[str, int]
    folds: Sequence[FoldPlan]
    not_left_out: Mapping[str, str]
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
        return {
            **self.folds[0].training.facts,
            "images": self.rows.num_rows,
            "left over": dict(self.left_over),
            "trainings": {each.fold.name: dict(_sizes(each.fold)) for each in self.folds},
            "not left out": dict(self.not_left_out),
            "output": self.output,
        }


def plan(config: CrossvalConfig, progress: Progress = silent) -> CrossvalPlan:
    """Read the data and assign every row to its folds; writes nothing.

    Raises:
        InputError: too few groups, or a single source; see also `train_plan.plan_on`.
    """
    s3.use(**config.s3)
    architecture = models.find(config.model)
    output = filesystem.normalize(config.output)
    train_plan.check_output(output, "crossval", config)
    images = sources.open_data(config.data, split=False, **config.chosen, progress=progress)
    images.check_apart(output)
    is_labelled = pc.is_valid(images.table["label"])
    is_readable = pc.is_null(images.table["error"])
    rows = images.table.filter(pc.and_(is_labelled, is_readable)).combine_chunks()
    if not rows.num_rows:
        raise InputError(
            f"{config.data} has no readable images with a label; put the images of each class in "
            "a separate folder."
        )
    made, refused = _folds(config, rows)
    return CrossvalPlan(
        config=config,
        manifest=images,
        rows=rows,
        left_over=_left_over(is_labelled, is_readable),
        folds=[
            FoldPlan(
                fold=fold,
                training=train_plan.plan_on(
                    _with_splits(rows, fold, images),
                    dataclasses.replace(config, seed=config.seed + (fold.repeat or 1) - 1),
                    architecture,
                    output,
                ),
            )
            for fold in made
        ],
        not_left_out=refused,
        output=output,
    )


def _folds(config: CrossvalConfig, rows: pa.Table) -> tuple[list[Fold], Mapping[str, str]]:
    """All folds, then the sources to leave out, and why the other sources cannot be."""
    made: list[Fold] = []
    refused: Mapping[str, str] = {}
    if config.folds:
        made += folds.cut(
            rows,
            folds=config.folds,
            repeats=config.repeats,
            validation=config.validation,
            seed=config.seed,
        )
    if config.leave_out is not None:
        without, refused = folds.leave_out(rows, validation=config.validation, seed=config.seed)
        made += without
    return made, refused


def _with_splits(rows: pa.Table, fold: Fold, images: Manifest) -> Manifest:
    """The rows as a manifest with the splits of one fold."""
    column = pa.array(fold.splits, pa.string())
    index = rows.column_names.index("split")
    return Manifest(rows.set_column(index, "split", column), images.settings)


def _left_over(is_labelled: pa.ChunkedArray, is_readable: pa.ChunkedArray) -> dict[str, int]:
    counts = {
        "unreadable": pc.sum(pc.invert(is_readable)).as_py() or 0,
        "no label": pc.sum(pc.and_(is_readable, pc.invert(is_labelled))).as_py() or 0,
    }
    return {reason: number for reason, number in counts.items() if number}


def _sizes(fold: Fold) -> Mapping[str, int]:
    counts = Counter(fold.splits)
    return {split: counts[split] for split in (TRAIN, VALIDATION, TEST)}
