"""Which images train, choose and test in each training of a cross-validation; pure tables."""

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
    """One training and its test.

    Attributes:
        repeat: from 1; None where a source is left out.
        number: of the fold in its repeat, from 1; None where a source is left out.
        left_out: the source that is tested; None for a fold.
        splits: of each row: train, validation or test; None for one that shares its group
            with a tested one of another source, and is left out of all.
    """

    repeat: int | None
    number: int | None
    left_out: str | None
    splits: Sequence[str | None]

    @property
    def name(self) -> str:
        """What people call it."""
        if self.left_out is not None:
            return f"without {self.left_out}"
        return f"repeat {self.repeat}, fold {self.number}"

    @property
    def folder(self) -> str:
        """Its name as that of a directory, whatever the source is called."""
        if self.left_out is not None:
            return f"without-{hashlib.sha256(self.left_out.encode()).hexdigest()[:8]}"
        return f"repeat-{self.repeat}-fold-{self.number}"


def cut(rows: pa.Table, *, folds: int, repeats: int, validation: float, seed: int) -> list[Fold]:
    """Folds that test every row once a repeat; groups stay whole, classes keep their shares.

    Args:
        rows: with `label` and `group`.
        folds: of each repeat.
        repeats: each with other folds.
        validation: share of a fold's other rows that chooses epoch, threshold and the like.
        seed: any whole number; a repeat counts it on.

    Raises:
        InputError: a class has too few groups.
    """
    names = [str(number) for number in range(1, folds + 1)]
    made = []
    for repeat in range(repeats):
        assigned = assign_splits(
            rows["label"],
            rows["group"],
            shares=dict.fromkeys(names, 1 / folds),
            seed=seed + repeat,
            parts="folds",
            advice="ask for fewer --folds",
        )
        of_row = pa.array(assigned)
        for number, name in enumerate(names, 1):
            splits = _inner(rows, pc.equal(of_row, name), validation, seed + repeat)
            made.append(Fold(repeat=repeat + 1, number=number, left_out=None, splits=splits))
    return made


def leave_out(
    rows: pa.Table, *, validation: float, seed: int
) -> tuple[list[Fold], Mapping[str, str]]:
    """A training without each source, tested on it, and why there is none for the others.

    Args:
        rows: with `label`, `group` and `source`.
        validation: share of the other sources' rows that chooses epoch, threshold and the like.
        seed: any whole number.

    Raises:
        InputError: there is one source only, or none that can be left out.
    """
    names = sorted(pc.unique(rows["source"]).to_pylist())
    if len(names) < 2:
        raise InputError(
            f"leave_out needs at least two sources, the data has one: {names[0]}; index several "
            "folders into one manifest, or use --source-regex."
        )
    made, refused = [], {}
    for name in names:
        is_tested = pc.equal(rows["source"], name)
        lacking = _lacking(rows, pc.invert(is_tested))
        if lacking:
            refused[name] = f"the other sources have no images of {', '.join(lacking)}"
            continue
        try:
            splits = _inner(rows, is_tested, validation, seed)
        except InputError as error:
            refused[name] = str(error).removesuffix(".")
            continue
        made.append(Fold(repeat=None, number=None, left_out=name, splits=splits))
    if not made:
        raise InputError(
            f"no source can be left out: without {names[0]} {refused[names[0]]}; add images of "
            "each class from at least two sources."
        )
    return made, refused


def digest(folds: Sequence[Fold]) -> str:
    """16 hex digits that change with any row's place in any training."""
    text = "\n".join(f"{fold.folder} {' '.join(map(str, fold.splits))}" for fold in folds)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lacking(rows: pa.Table, where: pa.ChunkedArray) -> list[str]:
    """The classes that have no row there."""
    there = set(rows["label"].filter(where).to_pylist())
    return sorted(set(rows["label"].to_pylist()) - there)


def _inner(
    rows: pa.Table, is_tested: pa.ChunkedArray, validation: float, seed: int
) -> list[str | None]:
    """The split of each row, where some are tested and the others are split once more."""
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
