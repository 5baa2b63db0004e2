"""Splits that a table gives: checked against the groups, and completed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TRAIN
from cnnjobs.data import duplicates
from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import InputError


def check_apart(rows: pa.Table, groups: pa.Array, pairs: Sequence[tuple[int, int]]) -> None:
    """Raise InputError if a table puts images of one group into several splits.

    Args:
        rows: with the `split` of a table, if it gives one.
        groups: of the rows.
        pairs: positions of rows of one patient.
    """
    if not rows.num_rows or rows["split"].null_count == rows.num_rows:
        return
    if pairs:
        groups = pa.array(duplicates.join_groups(groups.to_pylist(), pairs), pa.string())
    known = pa.table({"group": groups, "split": rows["split"]}).drop_null()
    in_splits = known.group_by("group").aggregate([("split", "count_distinct"), ("split", "count")])
    torn = in_splits.filter(pc.greater(in_splits["split_count_distinct"], 1))
    if torn.num_rows:
        raise InputError(
            f"{torn.num_rows} of {in_splits.num_rows} patients (groups) have images in more than "
            f"one split of the table, {pc.sum(torn['split_count']).as_py()} images in all; correct "
            "the table, or add --split-column none to split by patient."
        )


def completed(rows: pa.Table, shares: Mapping[str, float] | None, seed: int) -> pa.Table:
    """Readable, labelled rows with their split: that of a table, or else drawn.

    What a table's splits lack is drawn from the groups that it trains on.
    """
    is_labelled = pc.and_(pc.is_null(rows["error"]), pc.is_valid(rows["label"])).combine_chunks()
    given = pc.if_else(is_labelled, rows["split"].combine_chunks(), None)
    known = set(pc.unique(given).drop_null().to_pylist())
    drawn = dict(shares or {})
    if known:
        drawn = {split: share for split, share in drawn.items() if split not in known and share}
        if drawn:
            drawn = {TRAIN: 1 - sum(drawn.values()), **drawn}
        is_open = pc.fill_null(pc.equal(given, TRAIN), False)
    else:
        is_open = is_labelled
    chosen = rows.select(["label", "group"]).filter(is_open)
    if drawn and chosen.num_rows:
        splits = assign_splits(chosen["label"], chosen["group"], shares=drawn, seed=seed)
        given = pc.replace_with_mask(given, is_open, pa.array(splits, pa.string()))
    return rows.set_column(rows.column_names.index("split"), "split", given)


def warnings(rows: pa.Table, has_table: bool) -> list[str]:
    """Copies that a table puts into several splits."""
    if not has_table:
        return []
    known = rows.select(["group", "split"]).drop_null()
    each = known.group_by("group").aggregate([("split", "count_distinct")])
    torn = int(np.sum(each["split_count_distinct"].to_numpy() > 1))
    return [f"{torn} groups with copies are in more than one split of the table"] if torn else []
