"""`cnnjobs index --update`: a manifest of what is there now, in which only what is new was read."""

import dataclasses
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import DICOM_NAME, TRAIN
from cnnjobs.config.printable import counted
from cnnjobs.data import differences, duplicates, exclude, file_checks, sources, table_splits
from cnnjobs.data import groups as belonging
from cnnjobs.data.differences import Difference
from cnnjobs.data.image_listing import Listing
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.sources import Indexed, Rules
from cnnjobs.data.splits import assign_splits
from cnnjobs.data.tables import RESERVED
from cnnjobs.progress import Progress, silent


def update_sources(
    before: Manifest, roots: Sequence[str], *, progress: Progress = silent, **rules: Any
) -> tuple[Indexed, Mapping[str, int]]:
    """Bring a manifest up to date; returns it, and how many images are new, changed, gone.

    Images that were there keep their group and split. New ones join those of their patient and of
    their copies; whole groups that are new go to the splits that lack most. An image that connects
    groups of two splits gets no split.

    Raises:
        InputError: the rules or the sources are not those of the manifest; see also
            `sources.index_sources`.
    """
    how, listing, difference = survey(before, roots, progress=progress, **rules)
    by: dict[str, Any] = {"groups": how.groups, "group_regex": how.group_regex}
    groups = belonging.given(listing.rows, **by)
    table_splits.check_apart(listing.rows, groups, [])
    key = how.group_key or secrets.token_bytes(32)
    fresh = how.open(difference.fresh, key, progress)
    kept, num_read = _with_patients(_completed(difference.kept, listing), fresh, how, key)
    # other columns of a manifest that no table gives now stay with the rows that are kept
    rows = pa.concat_tables([fresh, _like(kept, fresh.schema)], promote_options="default")
    is_readable = pc.is_null(rows["error"])
    readable = rows.filter(is_readable)
    num_fresh = readable.num_rows - kept["error"].null_count
    exact, near = duplicates.copies(readable, num_fresh) if how.content else ([], [])
    exact = [pair for pair in exact if pair[0] < num_fresh]
    former = dict(zip(*(before.table[name].to_pylist() for name in ("path", "split")), strict=True))
    names, splits, num_between = _joined(readable, num_fresh, [*exact, *near], how, former)
    rows = sources.filled(rows, "group", is_readable, pa.array(names, pa.string()))
    split = pa.nulls(rows.num_rows, pa.string())
    rows = _with(rows, "split", pa.chunked_array([split]))
    rows = sources.filled(rows, "split", is_readable, pa.array(splits, pa.string()))
    order = pc.sort_indices(pc.index_in(rows["path"], value_set=listing.rows["path"]))
    indexed = sources.indexed(rows.take(order), listing, how, readable, exact, near)
    warnings = [*indexed.warnings]
    if num_read:
        warnings.append(
            f"read {counted(num_read, 'known DICOM file')} again to compare patients; --groups or "
            "--group-regex would spare that"
        )
    if num_between:
        warnings.append(
            f"no split for {counted(num_between, 'new image')} that would connect groups of two "
            "splits; to split all images again, index with --overwrite"
        )
    return dataclasses.replace(indexed, warnings=warnings), difference.counts


def survey(
    before: Manifest, roots: Sequence[str], *, progress: Progress = silent, **rules: Any
) -> tuple[Rules, Listing, Difference]:
    """What an update would have to open; only lists the images. Raises like `update_sources`."""
    how = differences.rules_of(before.settings, roots, Rules(**rules))
    listing = how.list(roots, known=before.table["path"], progress=progress)
    old, now = before.table, listing.rows
    difference = differences.between(old, now, listing.unlisted)
    differences.check_same_archive(difference.counts, old.num_rows, now.num_rows, before.settings)
    return how, listing, difference


def _completed(kept: pa.Table, listing: Listing) -> pa.Table:
    """Rows of a manifest with the columns that only their making needs, and what tables say now."""
    inside = exclude.inside_of(kept["path"], listing.roots)
    kept = kept.append_column("inside", inside).append_column(
        "patient", pa.nulls(kept.num_rows, pa.string())
    )
    if listing.table is None:
        return kept
    position = pc.index_in(kept["path"], value_set=listing.rows["path"])
    now = listing.rows.take(position)
    is_there = pc.is_valid(position)
    more = [name for name in now.column_names if name not in RESERVED]
    given = {role for file in listing.table["files"].values() for role in file["columns"]}
    for name in ("label", "source", "split", "table_group", *more):
        if name not in now.column_names or (name == "source" and name not in given):
            continue
        if name == "split":
            values = _kept_splits(kept["split"], now["split"])
        elif name in kept.column_names:
            kind = now[name].type
            values = pc.if_else(is_there, now[name], _cast(kept[name], kind))
        else:
            values = now[name]
        kept = _with(kept, name, values)
    return kept


def _kept_splits(old: pa.ChunkedArray, given: pa.ChunkedArray) -> pa.ChunkedArray:
    """The splits that tables give now, but for those that were drawn from their training images."""
    known = pc.unique(given).drop_null()
    was_drawn = pc.and_(pc.equal(given, TRAIN), pc.invert(pc.is_in(old, value_set=known)))
    return pc.coalesce(pc.if_else(pc.fill_null(was_drawn, True), old, given), given)


def _like(kept: pa.Table, fresh: pa.Schema) -> pa.Table:
    """Kept rows with the columns of the fresh ones, and others that they have."""
    for field in fresh:
        is_there = field.name in kept.column_names
        column = kept[field.name] if is_there else pa.nulls(kept.num_rows, field.type)
        kept = _with(kept, field.name, _cast(column, field.type))
    more = [name for name in kept.column_names if name not in fresh.names]
    return kept.select([*fresh.names, *more])


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (ValueError, pa.ArrowException):
        # a table has other values under this name now
        return pa.chunked_array([pa.nulls(len(column), kind)])


def _with(rows: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    return rows.append_column(name, values)


def _with_patients(kept: pa.Table, fresh: pa.Table, how: Rules, key: bytes) -> tuple[pa.Table, int]:
    """Known DICOM files with their patient, if there are new ones to compare with them.

    No manifest tells: one that did would name patients.
    """
    by: dict[str, Any] = {"groups": how.groups, "group_regex": how.group_regex}
    if belonging.is_given(fresh, **by) or fresh["patient"].null_count == fresh.num_rows:
        return kept, 0
    is_dicom = pc.and_(
        pc.is_null(kept["error"]),
        pc.match_substring_regex(kept["path"], DICOM_NAME),
    )
    found = file_checks.patients(kept["path"].filter(is_dicom).to_pylist(), key)
    return sources.filled(kept, "patient", is_dicom, pa.array(found, pa.string())), len(found)


def _joined(
    rows: pa.Table,
    num_fresh: int,
    copies: Sequence[tuple[int, int]],
    how: Rules,
    former: Mapping[str, str | None],
) -> tuple[list[str], list[str | None], int]:
    """Group and split of each row, and how many fresh rows connect groups of two splits.

    Args:
        rows: readable ones, the fresh ones first.
        num_fresh: how many these are.
        copies: pairs of rows with the same content or picture.
        how: to name groups.
        former: splits by path, for images that have changed.
    """
    fresh, kept = rows.slice(0, num_fresh), rows.slice(num_fresh)
    by: dict[str, Any] = {"groups": how.groups, "group_regex": how.group_regex}
    named = belonging.named(
        fresh, **by, by_patient=how.group_key is not None, missing=how.groups_missing
    ).to_pylist()
    names = [*named, *kept["group"].to_pylist()]
    is_labelled = pc.is_valid(rows["label"])
    splits: list[str | None] = pc.if_else(is_labelled, rows["split"], None).to_pylist()
    # a known group may have another name since it was joined with one
    given = duplicates.equal_pairs([*named, *belonging.given(kept, **by).to_pylist()])
    patients = duplicates.equal_pairs(rows["patient"].to_pylist())
    joined = duplicates.join_groups(names, [*copies, *given, *patients])
    splits_of, names_of, former_of = (defaultdict[str, set[str]](set) for _ in range(3))
    for position, (root, name, split) in enumerate(zip(joined, names, splits, strict=True)):
        if position >= num_fresh:
            names_of[root].add(name)
        # an image that a table trains on joins what was drawn for its group
        if split is not None and not (position < num_fresh and split == TRAIN):
            splits_of[root].add(split)
    for root, path in zip(joined, fresh["path"].to_pylist(), strict=False):
        if (split := former.get(path)) is not None:
            former_of[root].add(split)
    is_between = [len(splits_of[root]) > 1 for root in joined]
    for position, root in enumerate(joined[:num_fresh]):
        if splits[position] is not None and len(splits_of[root]) == 1:
            splits[position] = next(iter(splits_of[root]))
    groups = [
        name if between else min(names_of[root], default=root)
        for root, name, between in zip(joined, names, is_between, strict=True)
    ]
    if how.shares is not None:
        fixed = {
            group: next(iter(known))
            for root, group, between in zip(joined, groups, is_between, strict=True)
            if not between and len(known := splits_of[root] or former_of[root]) == 1
        }
        _assign(rows["label"].to_pylist(), groups, splits, is_between, num_fresh, fixed, how)
    without = zip(is_between[:num_fresh], splits, strict=False)
    return groups, splits, sum(between and split is None for between, split in without)


def _assign(
    labels: Sequence[str | None],
    groups: Sequence[str],
    splits: list[str | None],
    is_between: Sequence[bool],
    num_fresh: int,
    fixed: Mapping[str, str],
    how: Rules,
) -> None:
    """Give the fresh rows that have a label and no conflict their split, in place."""
    chosen = [
        position
        for position, label in enumerate(labels)
        if label is not None
        and (splits[position] is not None or (position < num_fresh and not is_between[position]))
    ]
    assert how.shares is not None
    assigned = assign_splits(
        [str(labels[position]) for position in chosen],
        [groups[position] for position in chosen],
        shares=how.shares,
        seed=how.seed,
        fixed=fixed,
    )
    for position, split in zip(chosen, assigned, strict=True):
        if position < num_fresh and splits[position] is None:
            splits[position] = split
