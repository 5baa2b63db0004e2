"""Which images train, validate and test in each training of a cross-validation."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TEST, TRAIN, VALIDATION
from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A training and its test.

    Attributes:
        repeat: from 1; None if a source is left out.
        number: of the fold within its repeat, from 1; None if a source is left out.
        left_out: the source that is tested; None for an ordinary fold.
        splits: of each row: train, validation or test; None for a row of another source that
            shares its group with a tested row, and is not used.
    """

    repeat: int | None
    number: int | None
    left_out: str | None
    splits: Sequence[str | None]

    @property
    def name(self) -> str:
        """As it is called in messages and tables."""
        if self.left_out is not None:
            return f"without {self.left_out}"
        return f"repeat {self.repeat}, fold {self.number}"

    @property
    def folder(self) -> str:
        """The name of its directory, valid for any source name."""
        if self.left_out is not None:
            return f"without-{hashlib.sha256(self.left_out.encode()).hexdigest()[:8]}"
        return f"repeat-{self.repeat}-fold-{self.number}"


def cut(rows: pa.Table, *, folds: int, repeats: int, validation: float, seed: int) -> list[Fold]:
    """Folds that test every row once per repeat; groups stay whole, classes keep their shares.

    Args:
        rows: with `label` and `group`.
        folds: per repeat.
        repeats: each with different folds.
        validation: share of the rows a fold does not test that chooses epoch and threshold.
        seed: any whole number; each repeat adds 1.

    Raises:
        InputError: a class has too few groups.
    """
    names = [str(number) for number in range(1, folds + 1)]
    cut_folds = []
    for repeat in range(repeats):
        assigned = assign_splits(
            rows["label"],
            rows["group"],
            shares=dict.fromkeys(names, 1 / folds),
            seed=seed + repeat,
            parts="folds",
            advice="ask for fewer --folds",
        )
        fold_of = pa.array(assigned)
        for number, name in enumerate(names, 1):
            splits = _splits(rows, pc.equal(fold_of, name), validation, seed + repeat)
            cut_folds.append(Fold(repeat=repeat + 1, number=number, left_out=None, splits=splits))
    return cut_folds


def leave_out(
    rows: pa.Table, *, validation: float, seed: int
) -> tuple[list[Fold], Mapping[str, str]]:
    """A training without each source, tested on it; and by source, why one cannot be left out.

    Args:
        rows: with `label`, `group` and `source`.
        validation: share of the other sources' rows that chooses epoch and threshold.
        seed: any whole number.

    Raises:
        InputError: there is only one source, or none can be left out.
    """
    names = sorted(pc.unique(rows["source"]).to_pylist())
    if len(names) < 2:
        raise InputError(
            f"leave_out needs at least two sources, the data has only {names[0]}; index several "
            "folders into one manifest, or use --source-regex."
        )
    trainings, refused = [], {}
    for name in names:
        is_tested = pc.equal(rows["source"], name)
        missing = _missing_classes(rows, pc.invert(is_tested))
        if missing:
            refused[name] = f"the other sources have no images of {', '.join(missing)}"
            continue
        try:
            splits = _splits(rows, is_tested, validation, seed)
        except InputError as error:
            refused[name] = str(error).removesuffix(".")
            continue
        trainings.append(Fold(repeat=None, number=None, left_out=name, splits=splits))
    if not trainings:
        raise InputError(
            f"no source can be left out: without {names[0]} {refused[names[0]]}; add images of "
            "each class from at least two sources."
        )
    return trainings, refused


def digest(folds: Sequence[Fold]) -> str:
    """16 hex digits that change if any row changes its split in any training."""
    text = "\n".join(f"{fold.folder} {' '.join(map(str, fold.splits))}" for fold in folds)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _missing_classes(rows: pa.Table, selected: pa.ChunkedArray) -> list[str]:
    """The classes without a selected row."""
    found = set(rows["label"].filter(selected).to_pylist())
    return sorted(set(rows["label"].to_pylist()) - found)


def _splits(
    rows: pa.Table, is_tested: pa.ChunkedArray, validation: float, seed: int
) -> list[str | None]:
    """The split of each row: test, and train or validation for rows of other groups."""
    tested_groups = pc.unique(rows["group"].filter(is_tested))
    is_free = pc.invert(pc.is_in(rows["group"], value_set=tested_groups))
    free = rows.filter(is_free)
    assigned = iter(
        assign_splits(
            free["label"],
            free["group"],
            shares={TRAIN: 1 - validation, VALIDATION: validation},
            seed=seed,
            advice="leave out --validation",
        )
    )
    return [
        TEST if tested else next(assigned) if other else None
        for tested, other in zip(is_tested.to_pylist(), is_free.to_pylist(), strict=True)
    ]
