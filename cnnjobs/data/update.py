"""`cnnjobs index --update`: a manifest of what is there now, in which only what is new was read."""

import dataclasses
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TRANSIENT_ERRORS
from cnnjobs.data import duplicates, exclude, file_checks, manifest, sources
from cnnjobs.data import groups as belonging
from cnnjobs.data.image_listing import Listing
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.sources import Indexed, Rules
from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress, silent

#: Settings that must not change; without `groups`, a group cannot be compared with those of before.
_SAME = ("group_regex", "source_regex", "shares", "seed", "content", "any_modality")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How the files differ from a manifest.

    Attributes:
        fresh: listed rows to open: new, changed, or unreadable for a reason that may be gone.
        kept: rows of the manifest that stay, also those in folders that cannot be listed now.
        counts: of the images that are new, changed, opened again, gone and unchanged.
    """

    fresh: pa.Table
    kept: pa.Table
    counts: Mapping[str, int]


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
    how, listing, difference = survey(before, roots, **rules)
    key = how.group_key or secrets.token_bytes(32)
    fresh = how.open(difference.fresh, key, progress)
    kept, num_read = _with_patients(_completed(difference.kept, listing), fresh, how, key)
    rows = pa.concat_tables([fresh, kept.select(fresh.column_names).cast(fresh.schema)])
    is_readable = pc.is_null(rows["error"])
    readable = rows.filter(is_readable)
    num_fresh = readable.num_rows - kept["error"].null_count
    exact, near = sources.copies(readable, num_fresh) if how.content else ([], [])
    exact = [pair for pair in exact if pair[0] < num_fresh]
    former = dict(zip(*(before.table[name].to_pylist() for name in ("path", "split")), strict=True))
    names, splits, num_between = _joined(readable, num_fresh, [*exact, *near], how, former)
    rows = sources.filled(rows, "group", is_readable, pa.array(names, pa.string()))
    rows = sources.filled(rows, "split", is_readable, pa.array(splits, pa.string()))
    order = pc.sort_indices(pc.index_in(rows["path"], value_set=listing.rows["path"]))
    indexed = sources.indexed(rows.take(order), listing, how, readable, exact, near)
    warnings = [*indexed.warnings]
    if num_read:
        warnings.append(
            f"{num_read} known DICOM files were read again to compare patients; --groups or "
            "--group-regex would spare that"
        )
    if num_between:
        warnings.append(
            f"{num_between} new images connect groups of two splits and have no split; to divide "
            "all images anew, index with --overwrite"
        )
    return dataclasses.replace(indexed, warnings=warnings), difference.counts


def survey(
    before: Manifest, roots: Sequence[str], **rules: Any
) -> tuple[Rules, Listing, Difference]:
    """What an update would have to open; only lists the images. Raises like `update_sources`."""
    how = Rules(**rules)
    if not how.exclude:
        how = dataclasses.replace(how, exclude=before.settings.get("exclude", ()))
    listing = how.list(roots, known=before.table["path"])
    _check_rules(before.settings, how.settings(listing))
    return how, listing, _compare(before, listing)


def _compare(before: Manifest, listing: Listing) -> Difference:
    old, now = before.table, listing.rows
    changes = manifest.changes(old, now, unlisted=listing.unlisted)
    is_gone = pc.is_in(old["path"], value_set=changes.gone)
    num_gone = len(changes.gone)
    if changes.are_another_archive(old, now):
        raise InputError(
            f"{num_gone} of {old.num_rows} images are gone and {len(changes.new)} of "
            f"{now.num_rows} are new: give the sources under the names they had, "
            f"{', '.join(before.settings['sources'])}, or index with --overwrite."
        )
    is_transient = pc.is_in(
        pc.replace_substring_regex(old["error"], ":.*", ""), value_set=pa.array(TRANSIENT_ERRORS)
    )
    is_there = pc.is_in(old["path"], value_set=now["path"])
    again = old.filter(pc.and_(is_transient, is_there))["path"].combine_chunks()
    again = again.filter(pc.invert(pc.is_in(again, value_set=changes.changed)))
    to_open = pa.concat_arrays([changes.new, changes.changed, again])
    is_kept = pc.and_not(pc.invert(is_gone), pc.is_in(old["path"], value_set=to_open))
    kept = old.filter(is_kept)
    return Difference(
        fresh=now.filter(pc.is_in(now["path"], value_set=to_open)),
        kept=kept,
        counts={
            "new": len(changes.new),
            "changed": len(changes.changed),
            "again": len(again),
            "gone": num_gone,
            "unchanged": kept.num_rows,
        },
    )


def _check_rules(old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [
        f"{name} was {old.get(name)}, is {now[name]}"
        for name in _SAME
        if old.get(name) != now[name]
    ]
    if (old["groups"] is None) != (now["groups"] is None):
        differences.append(f"groups was {old['groups']}, is {now['groups']}")
    missing = set(old["sources"]) - set(now["sources"])
    differences += [f"source {source} is missing" for source in sorted(missing)]
    if differences:
        raise InputError(
            f"the manifest was made otherwise ({'; '.join(differences)}); update it with the same "
            "sources and settings, or index with --overwrite."
        )


def _completed(kept: pa.Table, listing: Listing) -> pa.Table:
    """Rows of a manifest with the columns that only their making needs."""
    inside = exclude.inside_of(kept["path"], listing.roots)
    return kept.append_column("inside", inside).append_column(
        "patient", pa.nulls(kept.num_rows, pa.string())
    )


def _with_patients(kept: pa.Table, fresh: pa.Table, how: Rules, key: bytes) -> tuple[pa.Table, int]:
    """Known DICOM files with their patient, if there are new ones to compare with them.

    No manifest tells: one that did would name patients.
    """
    is_named = how.groups is not None or how.group_regex is not None
    if is_named or fresh["patient"].null_count == fresh.num_rows:
        return kept, 0
    is_dicom = pc.and_(
        pc.is_null(kept["error"]),
        pc.match_substring_regex(kept["path"], r"(?i)(\.dcm|\.dicom|(^|/)[^./]*)$"),
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
    by = {"groups": how.groups, "group_regex": how.group_regex}
    named = belonging.named(fresh, **by, by_patient=how.group_key is not None).to_pylist()
    names = [*named, *kept["group"].to_pylist()]
    splits: list[str | None] = [None] * num_fresh + kept["split"].to_pylist()
    # a known group may have another name since it was joined with one
    given = duplicates.equal_pairs([*named, *belonging.given(kept, **by)])
    patients = duplicates.equal_pairs(rows["patient"].to_pylist())
    joined = duplicates.join_groups(names, [*copies, *given, *patients])
    splits_of, names_of, former_of = (defaultdict[str, set[str]](set) for _ in range(3))
    for position, (root, name, split) in enumerate(zip(joined, names, splits, strict=True)):
        if position >= num_fresh:
            names_of[root].add(name)
        if split is not None:
            splits_of[root].add(split)
    for root, path in zip(joined, fresh["path"].to_pylist(), strict=False):
        if (split := former.get(path)) is not None:
            former_of[root].add(split)
    is_between = [len(splits_of[root]) > 1 for root in joined]
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
    return groups, splits, sum(is_between[:num_fresh])


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
        if position < num_fresh:
            splits[position] = split
