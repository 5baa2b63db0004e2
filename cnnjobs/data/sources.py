"""From folders and S3 prefixes to a manifest: list, label, check files, group, split."""

import functools
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config import constants
from cnnjobs.config.printable import printable
from cnnjobs.data import allowed_roots, duplicates, file_checks, image_listing, table_splits, tables
from cnnjobs.data import groups as belonging
from cnnjobs.data.exclude import without
from cnnjobs.data.image_listing import LeftOut, Listing
from cnnjobs.data.manifest import Manifest, read
from cnnjobs.data.tables import TableRules
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import archives, filesystem

_log = logging.getLogger(__name__)

DEFAULT_SHARES = {constants.TRAIN: 0.7, constants.VALIDATION: 0.15, constants.TEST: 0.15}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How to make a manifest of folders and prefixes.

    Attributes:
        labels: False takes no class from the folders.
        table: how to take labels and more from tables.
        groups: files of groups, see `groups.given`.
        group_regex: the group is what its one (group) captures, see `groups.named`.
        groups_missing: `own` or `error` for images without a group, see `groups.named`.
        source_regex: the source is what its one (group) captures in the path below its root; None
            names it after the root.
        shares: of the images for each split; None makes no splits.
        content: read every image for its hashes, size and readability.
        suffixless: open files without a suffix, which are images if they begin like DICOM.
        any_modality: also accept DICOM files that are not projection radiographs.
        max_bytes: largest size of an image file.
        group_key: for the hash that names the group of a DICOM file's patient, without `groups` and
            `group_regex`; None names it after the patient's first file.
        exclude: patterns for files and folders to leave out, see `globs.regex`.
        allowed_root: folders and prefixes that every image must be below, see `allowed_roots`.
        seed: of the split.
    """

    labels: bool = True
    table: TableRules | None = None
    groups: Sequence[str] = ()
    group_regex: str | None = None
    groups_missing: str = "error"
    source_regex: str | None = None
    shares: Mapping[str, float] | None
    content: bool = True
    suffixless: bool = True
    any_modality: bool = False
    max_bytes: int = constants.MAX_BYTES
    group_key: bytes | None = None
    exclude: Sequence[str] = ()
    allowed_root: Sequence[str] = ()
    seed: int = 0

    def list(
        self,
        sources: Sequence[str],
        known: pa.ChunkedArray | None = None,
        progress: Progress = silent,
    ) -> Listing:
        """List the images, those that tables name; see `image_listing.list_images`."""
        listing = image_listing.list_images(
            image_listing.name_sources(sources), **self.listing, known=known, progress=progress
        )
        if self.table is None:
            return listing
        return tables.applied(listing, self.table, key=self.group_key, progress=progress)

    @property
    def listing(self) -> dict[str, Any]:
        """How to list the images; see `image_listing.list_tables`."""
        return {
            "labels": self.labels and self.table is None,
            "suffixless": self.suffixless,
            "excluded": self.exclude,
        }

    def open(self, listed: pa.Table, key: bytes, progress: Progress) -> pa.Table:
        """Listed images with their source, and with what only opening them reveals."""
        allowed_roots.check([listed["path"]], self.allowed_root)
        file_checks.check_readable(listed["path"])
        check = functools.partial(
            file_checks.check_file,
            any_modality=self.any_modality,
            key=key,
            max_bytes=self.max_bytes,
        )
        checks = None
        if self.content:
            checks = file_checks.check_files(listed["path"].to_pylist(), check, progress)
        rows = with_columns(listed, checks)
        if self.source_regex is None:
            return rows
        column = rows.column_names.index("source")
        return rows.set_column(column, "source", belonging.sources(rows, self.source_regex))

    def settings(self, listing: LeftOut) -> dict[str, Any]:
        """What a manifest records of how it was made."""
        return {
            "sources": list(listing.roots),
            "groups": self.groups[0] if len(self.groups) == 1 else list(self.groups) or None,
            "group_regex": self.group_regex,
            "source_regex": self.source_regex,
            "shares": dict(self.shares) if self.shares is not None else None,
            "seed": self.seed,
            "content": self.content,
            "any_modality": self.any_modality,
            "exclude": list(self.exclude),
            "ignored": dict(listing.ignored),
            "unlisted": listing.unlisted,
            **({"table": self.table.settings()} if self.table is not None else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """What was noticed while making a manifest; see `index.IndexSummary`."""

    ignored: Mapping[str, int]
    left_out: Mapping[str, str]
    warnings: Sequence[str]
    num_exact_copies: int = 0
    num_near_copies: int = 0
    mixed_labels: Sequence[Sequence[str]] = field(default_factory=list)
    table: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Indexed(Noticed):
    """A manifest, and what was noticed while making it."""

    manifest: Manifest


def open_data(
    data: str,
    *,
    for_training: bool = True,
    split: bool = True,
    exclude: Sequence[str] = (),
    allowed_root: Sequence[str] = (),
    progress: Progress = silent,
) -> Manifest:
    """The manifest of DATA: read from a `.parquet` file, or made from a folder or prefix.

    Args:
        data: a manifest, a folder, an S3 prefix or an archive.
        for_training: open every image of a folder (duplicates, readability) and split them with the
            default shares and seed 0; otherwise they are only listed.
        split: False leaves the images of a folder without a split.
        exclude: patterns for images to leave out, see `globs.regex`.
        allowed_root: folders and prefixes that every image must be below, see `allowed_roots`.
        progress: reports the files checked.
    """
    data = filesystem.normalize(data)
    if is_manifest(data):
        manifest = without(read(data), exclude, data)
        allowed_roots.check([manifest.table["path"]], allowed_root)
        file_checks.check_readable(manifest.table["path"])
        return manifest
    shares = DEFAULT_SHARES if for_training and split else None
    indexed = index_sources(
        [data],
        shares=shares,
        content=for_training,
        exclude=exclude,
        allowed_root=allowed_root,
        progress=progress,
    )
    log_warnings(indexed)
    return indexed.manifest


def is_manifest(data: str) -> bool:
    """Whether DATA is a manifest, rather than a folder, a prefix or an archive of images.

    Raises:
        InputError: it is none of these.
    """
    if data.endswith(".parquet") and not archives.is_archive_of_images(data):
        return True
    if not filesystem.is_s3(data) and filesystem.is_file(data) and archives.suffix(data) is None:
        raise InputError(
            f"{data} is one file; give a folder, an archive, a manifest.parquet or s3://."
        )
    return False


def log_warnings(noticed: Noticed) -> None:
    """Log what a job that lists its images by itself does not return."""
    for warning in noticed.warnings:
        _log.warning("%s", printable(warning))


def index_sources(sources: Sequence[str], *, progress: Progress = silent, **rules: Any) -> Indexed:
    """List the images under folders and S3 prefixes and decide everything that is decided once.

    Args:
        sources: folders or prefixes; the folders directly below one are the classes.
        progress: reports the files checked.
        rules: those of `Rules`.

    Raises:
        InputError: nothing to index, a group is missing, or a class has too few groups.
    """
    how = Rules(**rules)
    listing = how.list(sources, progress=progress)
    # without the user's key, the hash of a patient is only valid within this run
    rows = how.open(listing.rows, how.group_key or secrets.token_bytes(32), progress)
    readable = _readable(rows)
    exact, near = duplicates.copies(readable) if how.content else ([], [])
    rows = _with_groups(rows, readable, [*exact, *near], how)
    rows = table_splits.completed(rows, how.shares, how.seed)
    return indexed(rows, listing, how, readable, exact, near)


def indexed(
    rows: pa.Table,
    listing: Listing,
    how: Rules,
    readable: pa.Table,
    exact: Sequence[tuple[int, int]],
    near: Sequence[tuple[int, int]],
) -> Indexed:
    """The manifest of the rows, and what its user should know; pairs are rows of `readable`."""
    same = {other for _, other in exact}
    more = [name for name in rows.column_names if name not in tables.RESERVED]
    table = rows.select([*schema.MANIFEST.names, *more])
    return Indexed(
        manifest=Manifest(table.cast(schema.with_more(table.schema)), how.settings(listing)),
        ignored=dict(listing.ignored),
        left_out=listing.left_out,
        warnings=[
            *image_listing.warnings(listing, how.exclude),
            *_without_group(rows, how),
            *table_splits.warnings(rows, how.table is not None),
        ],
        table=listing.table,
        num_exact_copies=len(same),
        num_near_copies=len({other for _, other in near} - same),
        mixed_labels=duplicates.mixed_labels(readable, [*exact, *near]),
    )


def _with_groups(
    rows: pa.Table, readable: pa.Table, pairs: Sequence[tuple[int, int]], how: Rules
) -> pa.Table:
    """Readable rows with their group; patients and copies, given as pairs, are joined."""
    by_patient = how.group_key is not None
    names = belonging.named(
        readable,
        groups=how.groups,
        group_regex=how.group_regex,
        by_patient=by_patient,
        missing=how.groups_missing,
    )
    patients = [] if by_patient else duplicates.equal_pairs(readable["patient"].to_pylist())
    table_splits.check_apart(readable, names, patients)
    if pairs or patients:
        joined = duplicates.join_groups(names.to_pylist(), [*pairs, *patients])
        names = pa.array(joined, pa.string())
    return filled(rows, "group", pc.is_null(rows["error"]), names)


def _readable(rows: pa.Table) -> pa.Table:
    """The rows of readable images, not copied if they are all: they may be millions."""
    is_readable = pc.is_null(rows["error"])
    return rows if pc.all(is_readable).as_py() else rows.filter(is_readable)


def _without_group(rows: pa.Table, how: Rules) -> list[str]:
    """How many images have no group, if they may be their own."""
    by: dict[str, Any] = {"groups": how.groups, "group_regex": how.group_regex}
    if how.groups_missing == "error" or not belonging.is_given(rows, **by):
        return []
    readable = _readable(rows)
    number = belonging.given(readable, **by).null_count
    of = f"{number} of {readable.num_rows} images"
    return [f"{of} have no group and are each their own"] if number else []


def with_columns(listed: pa.Table, checks: pa.Table | None = None) -> pa.Table:
    """Listed images with what opening them has revealed, or nulls."""
    if checks is None:
        nulls = [pa.nulls(listed.num_rows, kind) for kind in file_checks.COLUMNS.types]
        checks = pa.table(nulls, schema=file_checks.COLUMNS)
    for name in checks.column_names:
        listed = listed.append_column(checks.schema.field(name), checks[name])
    return listed


def filled(rows: pa.Table, name: str, where: pa.ChunkedArray, values: pa.Array) -> pa.Table:
    """The table with the values, in order, in the selected rows of one column."""
    old, mask = (column.combine_chunks() for column in (rows[name], where))
    return rows.set_column(
        rows.column_names.index(name), name, pc.replace_with_mask(old, mask, values)
    )
