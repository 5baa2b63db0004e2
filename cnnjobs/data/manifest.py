"""The manifest: a Parquet table of images, one row per image, that every job reads."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.data import manifest_rows
from cnnjobs.data.images import (
    FINGERPRINTED,
    PIECE_ROWS,
    fingerprint_of,
    in_pieces,
    in_split,
    is_increasing,
    num_by_split,
    num_in_split,
)
from cnnjobs.errors import ManifestError
from cnnjobs.storage import apart, archives, filesystem, json_files

if TYPE_CHECKING:
    import pandas

_METADATA = b"cnnjobs"


@dataclass(frozen=True)
class Manifest:
    """The rows, and how they were made (sources, seed, shares of the splits).

    The columns are those of `schema.MANIFEST`, and after these any others, for subgroups.
    """

    table: pa.Table
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Manifest":
        """Read a manifest, from local disk or S3.

        Raises:
            ManifestError: the file is missing, not a manifest, or of another schema version.
        """
        return read(filesystem.normalize(os.fspath(path)))

    @classmethod
    def from_arrow(
        cls, table: pa.Table, *, shares: Mapping[str, float] | None = None, seed: int = 0
    ) -> "Manifest":
        """Make a manifest of a table with one row per image; no image is opened.

        Only `path` is required, local or `s3://`. Files are listed for their size and time if
        the table has no `size_bytes`. An image without a `group` is its own group. Other
        columns stay, for subgroups; one that may be meant for a manifest's is refused. Copies
        are not found: that takes `cnnjobs.index`.

        Args:
            table: columns of a manifest (docs/files.md); labels may be numbers.
            shares: splits the labelled images by group, for example
                `{"train": 0.7, "validation": 0.15, "test": 0.15}`; None keeps the column `split`.
            seed: of the split.

        Raises:
            ManifestError: a column is misnamed or of the wrong type, a path is missing or not
                unique, or a split is not train, validation or test.
            InputError: a label has too few groups for the splits.
        """
        rows = manifest_rows.complete(table)
        if shares is not None:
            rows = manifest_rows.split(rows, shares, seed)
        settings = {
            "sources": [manifest_rows.common_folder(rows["path"].to_pylist())],
            **dict.fromkeys(("groups", "group_regex", "source_regex")),
            "shares": dict(shares) if shares is not None else None,
            "seed": seed,
            "content": False,
            "any_modality": False,
            "ignored": {},
        }
        return cls(rows, settings)

    @classmethod
    def from_pandas(
        cls,
        frame: "pandas.DataFrame",
        *,
        shares: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> "Manifest":
        """Make a manifest of a DataFrame with one row per image; see `from_arrow`."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        return cls.from_arrow(table.replace_schema_metadata(None), shares=shares, seed=seed)

    def to_arrow(self) -> pa.Table:
        """The rows as a table of `cnnjobs.schema.MANIFEST`."""
        return self.table

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a DataFrame.

        Raises:
            InputError: pandas is not installed.
        """
        return schema.to_pandas(self.table)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest as one Parquet file, which every job takes as its `data`."""
        write(self, filesystem.normalize(os.fspath(path)))

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that depend on images, labels, groups and splits, but not on row order."""
        return fingerprint_of(self.ordered(FINGERPRINTED))

    @property
    def columns(self) -> pa.Schema:
        """Those of `cnnjobs.schema.MANIFEST`, and after these any others."""
        return self.table.schema

    @property
    def labels(self) -> list[str]:
        """The classes that occur, sorted."""
        return sorted(pc.unique(self.table["label"]).drop_null().to_pylist())

    @property
    def split_seed(self) -> int | None:
        """The seed that drew the splits; None if they were given."""
        return self.settings.get("seed") if self.settings.get("shares") is not None else None

    def check_apart(self, output: str) -> None:
        """Raise InputError if an output would be among the images, or contain some of them."""
        apart.check(output, self.settings.get("sources", ()))
        apart.check_images(output, [self.table["path"]])

    def select(self, split: str) -> pa.Table:
        """The rows of one split, or with `all` those of every split, in manifest order.

        Raises:
            ManifestError: the split is empty.
        """
        self.count(split)
        return in_split(self.table, split)

    def count(self, split: str) -> int:
        """How many rows `select` has; raises like it."""
        return num_in_split(num_by_split(self.table), split)

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of what `select` has, a few rows at a time."""
        for piece in in_pieces([self.table], PIECE_ROWS):
            yield in_split(piece, split).select(columns)

    def ordered(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns, `path` among them, in the order of the paths."""
        rows = self.table.select(columns)
        yield from in_pieces(
            [rows if is_increasing(rows["path"]) else rows.sort_by("path")], PIECE_ROWS
        )


#: Share of the images that are gone, and of those that are new, from which on a listing is taken
#: for another archive, or for the same one under another name.
_ANOTHER_ARCHIVE = 0.9


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Paths in which two listings of the same location differ.

    Attributes:
        new: those missing from the old listing.
        changed: those that now hold a different file.
        gone: those missing from the new listing.
    """

    new: pa.StringArray
    changed: pa.StringArray
    gone: pa.StringArray


def are_another_archive(num_gone: int, num_old: int, num_new: int, num_now: int) -> bool:
    """Whether nearly all of the old images are gone, and nearly all of those now are new."""
    return num_gone >= _ANOTHER_ARCHIVE * num_old and num_new >= _ANOTHER_ARCHIVE * num_now


def changes(old: pa.Table, new: pa.Table, *, unlisted: Sequence[str] = ()) -> Changes:
    """Compare the rows of two manifests by path, and their files by size and ETag or time.

    If both rows have an ETag, the time does not count: moving an object to another storage class
    changes the time but not the content. Paths are in the order of their table. Those in a folder
    that could not be listed now (`unlisted`) are not gone.
    """
    position = pc.index_in(new["path"], value_set=old["path"])
    before = old.select(["size_bytes", "modified", "etag"]).take(position)
    same_content = pc.if_else(
        pc.and_(pc.is_valid(before["etag"]), pc.is_valid(new["etag"])),
        _equal(before["etag"], new["etag"]),
        _equal(before["modified"], new["modified"]),
    )
    same = pc.and_(_equal(before["size_bytes"], new["size_bytes"]), same_content)
    known = pc.is_valid(position)
    still_there = pc.is_in(old["path"], value_set=new["path"])
    for folder in unlisted:
        # of an archive, members
        for separator in ("/", archives.SEPARATOR):
            is_below = pc.starts_with(old["path"], f"{folder}{separator}")
            still_there = pc.or_(still_there, is_below)
    return Changes(
        new=new["path"].filter(pc.invert(known)).combine_chunks(),
        changed=new["path"].filter(pc.and_(known, pc.invert(same))).combine_chunks(),
        gone=old["path"].filter(pc.invert(still_there)).combine_chunks(),
    )


def write(manifest: Manifest, uri: str) -> None:
    """Write the manifest as one Parquet file, either completely or not at all."""
    metadata = metadata_of(manifest.settings)
    filesystem.write_table(uri, manifest.table.replace_schema_metadata(metadata))


def metadata_of(settings: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What the file of a manifest says of how it was made."""
    facts = {"manifest_version": schema.MANIFEST_VERSION, "settings": settings}
    return {_METADATA: json_files.text(facts, indent=None).encode()}


def read(uri: str) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: the file is not Parquet, not a manifest, or of another schema version.
    """
    try:
        data = filesystem.read_file(uri)
    except FileNotFoundError as error:
        raise ManifestError(f"{uri} does not exist.") from error
    try:
        table = pq.read_table(pa.BufferReader(data))
    except MemoryError as error:
        raise ManifestError(
            f"{uri} takes more memory than there is; index fewer images."
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{uri} is not a readable Parquet file; index it again.") from error
    settings = settings_of(table.schema, uri)
    if settings is None:
        return _without_settings(table, uri)
    try:
        table = _with_columns(table)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise ManifestError(
            f"{uri} does not have the columns of a manifest; index it again."
        ) from error
    return Manifest(table, settings)


def settings_of(found: pa.Schema, uri: str) -> dict[str, Any] | None:
    """How a manifest was made; None if its file does not say.

    Raises:
        ManifestError: what it says is damaged, or of another schema version.
    """
    described = (found.metadata or {}).get(_METADATA)
    if described is None:
        return None
    try:
        info = json_files.parsed(described)
        version, settings = info["manifest_version"], dict(info["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{uri} does not say how it was made; index it again.") from error
    if version != schema.MANIFEST_VERSION:
        raise ManifestError(
            f"{uri} is a manifest of schema version {version}, this cnnjobs reads version "
            f"{schema.MANIFEST_VERSION}; index it again."
        )
    return settings


def _with_columns(table: pa.Table) -> pa.Table:
    """The table with the columns of a manifest, and after them those that it has besides."""
    kind = schema.with_more(table.schema.remove_metadata())
    return table.select(kind.names).replace_schema_metadata(None).cast(kind)


def _without_settings(table: pa.Table, uri: str) -> Manifest:
    """A manifest that went through pandas or the like, which keep its columns alone."""
    missing = [name for name in schema.MANIFEST.names if name not in table.column_names]
    if missing:
        raise ManifestError(
            f"{uri} is a Parquet file but not a manifest, it has no column {missing[0]}; create "
            f"one with cnnjobs index IMAGES --table {uri}."
        )
    kept = [name for name in table.column_names if not name.startswith("__index_level_")]
    try:
        return Manifest.from_arrow(table.select(kept).replace_schema_metadata(None))
    except ManifestError as error:
        raise ManifestError(f"{uri}: {error}") from error


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether both values are equal, or both null."""
    both_null = pc.and_(pc.is_null(one), pc.is_null(other))
    return pc.or_(pc.fill_null(pc.equal(one, other), False), both_null)
