"""The images of a job: a manifest in memory, or one that is read from its file in pieces."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.errors import ManifestError

#: Columns that identify a manifest.
FINGERPRINTED = [
    *("path", "size_bytes", "modified", "etag", "content_hash"),
    *("label", "group", "split"),
]

#: Rows of a table that are worked on at once.
PIECE_ROWS = 10_000


class Images(Protocol):
    """What a job needs to know of its images.

    Attributes:
        columns: those of a manifest, and after these any others.
        settings: how the manifest was made.
        fingerprint: see `Manifest.fingerprint`.
    """

    @property
    def columns(self) -> pa.Schema: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def fingerprint(self) -> str: ...

    def check_apart(self, output: str) -> None:
        """Raise InputError if an output would be among the images, or contain some of them."""

    def count(self, split: str) -> int:
        """How many images a split has, or with `all` every split.

        Raises:
            ManifestError: none.
        """

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of a split in manifest order, in tables of any size."""

    def ordered(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of every split in the order of their paths, in tables of any size.

        Args:
            columns: the first is `path`.
        """

    def write(self, path: str) -> None:
        """Write the manifest, completely or not at all."""


def in_pieces(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `size` rows, but for the last."""
    held: list[pa.Table] = []
    missing = size
    for table in tables:
        rest = table
        while rest.num_rows >= missing:
            yield pa.concat_tables([*held, rest.slice(0, missing)])
            rest = rest.slice(missing)
            held, missing = [], size
        if rest.num_rows:
            held.append(rest)
            missing -= rest.num_rows
    if held:
        yield pa.concat_tables(held)


def in_split(rows: pa.Table, split: str) -> pa.Table:
    """The rows of one split, or all of them."""
    return rows if split == "all" else rows.filter(pc.equal(rows["split"], split))


def num_by_split(rows: pa.Table) -> Counter[str]:
    """How many rows each split has, in the order in which they occur."""
    counts = pc.value_counts(rows["split"].fill_null("no split")).to_pylist()
    return Counter({item["values"]: item["counts"] for item in counts})


def num_in_split(by_split: Mapping[str, int], split: str) -> int:
    """How many rows a split has, or with `all` every split.

    Raises:
        ManifestError: none.
    """
    number = sum(by_split.values()) if split == "all" else by_split.get(split, 0)
    if number == 0:
        counts = ", ".join(f"{count} in {name}" for name, count in by_split.items()) or "no rows"
        raise ManifestError(
            f"the manifest has no images in split {split} (it has {counts}); index labelled images "
            "with splits, or choose another split."
        )
    return number


def fingerprint_of(tables: Iterable[pa.Table]) -> str:
    """The fingerprint of rows in the order of their paths, in tables of any size."""
    digest = hashlib.sha256()
    for rows in in_pieces(tables, PIECE_ROWS):
        digest.update(_text(rows))
    return digest.hexdigest()[:16]


def is_increasing(paths: pa.ChunkedArray) -> bool:
    """Whether each path is larger than the one before; nulls are not looked at."""
    larger = pc.greater(paths.slice(1), paths.slice(0, max(len(paths) - 1, 0)))
    return bool(pc.all(larger, min_count=0).as_py())


def _text(rows: pa.Table) -> pa.Buffer:
    """The rows as one unique text, a line each: every value is preceded by its length."""
    parts = []
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        text = column.cast(pa.string())
        length = pc.fill_null(pc.binary_length(text).cast(pa.string()), "-")
        parts += [length, pc.fill_null(text, "")]
    lines = pc.binary_join_element_wise(*parts, " ")
    return pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0].as_buffer()
