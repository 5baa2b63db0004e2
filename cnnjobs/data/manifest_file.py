"""A manifest that stays in its file and is read in pieces: the images of a job of any size."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.data import allowed_roots, external_sort, file_checks, manifest, sources
from cnnjobs.data.images import (
    FINGERPRINTED,
    Images,
    fingerprint_of,
    in_split,
    is_increasing,
    num_by_split,
    num_in_split,
)
from cnnjobs.errors import ManifestError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, archives, filesystem, parquet_files, snapshots

#: Rows that are read at once, and bytes that are copied at once.
_ROWS, _BYTES = 65_536, 1 << 20


def open_images(
    data: str,
    *,
    in_memory: bool = False,
    exclude: Sequence[str] = (),
    allowed_root: Sequence[str] = (),
    progress: Progress = silent,
) -> Images:
    """The images of DATA, to be scored.

    A manifest that `cnnjobs` has written stays in its file; others, and all from which some images
    are left out, are held in memory, like listings of folders and prefixes.

    Args:
        data: a manifest, a folder, an S3 prefix or an archive.
        in_memory: hold any manifest in memory.
        exclude: patterns for images to leave out, see `globs.regex`.
        allowed_root: folders and prefixes that every image must be below, see `allowed_roots`.
        progress: reports the files checked.

    Raises:
        ManifestError: the manifest is damaged, or has an image twice.
        InputError: there are no images, or one is not below the allowed roots.
    """
    data = filesystem.normalize(data)
    found = None
    if data.endswith(".parquet") and not (in_memory or exclude):
        found = _find(data)
    if found is None:
        return sources.open_data(
            data,
            for_training=False,
            exclude=exclude,
            allowed_root=allowed_root,
            progress=progress,
        )
    found.check(allowed_root)
    return found


class ManifestFile:
    """A manifest on disk; one on S3 is copied to a temporary file. See `Images`."""

    def __init__(self, uri: str, file: pa.NativeFile, settings: Mapping[str, Any]) -> None:
        """Read it from an open file, which may be replaced or deleted in the meantime."""
        self.uri = uri
        self.settings = settings
        self._file = file
        self._num_by_split: Counter[str] = Counter()
        self._is_sorted = True

    def check(self, allowed_root: Sequence[str] = ()) -> None:
        """Look at the path and split of every row.

        Raises:
            ManifestError: the file is damaged, or an image has two rows.
            InputError: an image is not below the allowed roots.
            StorageError: S3 does not allow the images to be read.
        """
        allowed_roots.check((rows["path"] for rows in self._read(["path"])), allowed_root)
        last = pa.nulls(0, pa.string())
        samples = []
        for rows in self._read(["path", "split"]):
            self._num_by_split.update(num_by_split(rows))
            paths = rows["path"]
            joined = pa.chunked_array([last, *paths.chunks])
            self._is_sorted = self._is_sorted and is_increasing(joined)
            last = paths.slice(len(paths) - 1).combine_chunks()
            samples.append(paths[0])
        file_checks.check_readable(pa.chunked_array([samples, last], pa.string()))
        if not self._is_sorted:
            # sorts the rows, which shows images with two; kept for later
            _ = self.fingerprint

    @functools.cached_property
    def fingerprint(self) -> str:
        """See `Manifest.fingerprint`.

        Raises:
            ManifestError: an image has two rows.
        """
        rows = self._read(FINGERPRINTED)
        return fingerprint_of(rows if self._is_sorted else self._each_once(rows))

    def check_apart(self, output: str) -> None:
        """Raise InputError if an output would be among the images, or contain some of them."""
        apart.check(output, self.settings.get("sources", ()))
        apart.check_images(output, (rows["path"] for rows in self._read(["path"])))

    def count(self, split: str) -> int:
        """How many images a split has; raises ManifestError if it has none."""
        return num_in_split(self._num_by_split, split)

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of a split in the order of the file, a few at a time."""
        for rows in self._read([*columns, "split"]):
            yield in_split(rows, split).select(columns)

    def write(self, path: str) -> None:
        """Copy the file."""
        self._file.seek(0)
        with filesystem.writing(path) as copy:
            while piece := self._file.read(_BYTES):
                copy.write(piece)

    def _read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        try:
            file = parquet_files.opened(self._file)
            for batch in file.iter_batches(_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch]).select(list(columns))
        except (OSError, pa.ArrowException) as error:
            raise ManifestError(
                f"{self.uri} is not a readable Parquet file; index it again."
            ) from error

    def _each_once(self, rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows in the order of their paths."""
        last = pa.nulls(0, pa.string())
        for ordered in external_sort.by_path(rows):
            paths = pa.chunked_array([last, *ordered["path"].chunks])
            if not is_increasing(paths):
                twice = next(
                    path
                    for path, after in zip(paths, paths.slice(1), strict=False)
                    if path == after
                )
                raise ManifestError(f"{self.uri} has two rows of {twice}; index it again.")
            last = paths.slice(len(paths) - 1).combine_chunks()
            yield ordered


def _find(uri: str) -> ManifestFile | None:
    """The manifest, if it has exactly the columns that `cnnjobs` writes, and no images."""
    if archives.is_archive_of_images(uri):
        return None
    try:
        file = snapshots.opened(uri)
        found = pq.ParquetFile(file).schema_arrow
    except (OSError, pa.ArrowException):
        return None  # `manifest.read` says what is wrong
    settings = manifest.settings_of(found, uri)
    if settings is None or not found.equals(schema.with_more(found)):
        return None
    return ManifestFile(uri, file, settings)
