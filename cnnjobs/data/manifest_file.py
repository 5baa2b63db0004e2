"""A manifest that stays in its file and is read in pieces: the images of a job of any size."""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.data import external_sort, manifest
from cnnjobs.data.images import (
    FINGERPRINTED,
    fingerprint_of,
    in_pieces,
    in_split,
    is_increasing,
    num_by_split,
    num_in_split,
)
from cnnjobs.errors import ManifestError
from cnnjobs.storage import apart, filesystem, parquet_files, snapshots

#: Rows that are read at once, and bytes that are copied at once.
_ROWS, _BYTES = 65_536, 1 << 20


def find(uri: str) -> "ManifestFile | None":
    """A manifest in its file, if it has exactly the columns that `cnnjobs` writes.

    Raises:
        ManifestError: the manifest is damaged, or an image has two rows.
    """
    try:
        file = snapshots.opened(uri)
        found = pq.ParquetFile(file).schema_arrow
    except (OSError, pa.ArrowException):
        return None  # `manifest.read` says what is wrong
    settings = manifest.settings_of(found, uri)
    if settings is None or not found.equals(schema.with_more(found)):
        return None
    images = ManifestFile(uri, file, settings)
    images.check()
    return images


def opened(uri: str) -> "ManifestFile | manifest.Manifest":
    """A manifest in its file if possible, otherwise in memory; raises like `manifest.read`."""
    return find(uri) or manifest.read(uri)


def written(
    uri: str,
    tables: Iterable[pa.Table],
    kind: pa.Schema,
    settings: Callable[[], Mapping[str, Any]],
    *,
    twice: Callable[[str], str] | None = None,
) -> "ManifestFile":
    """A manifest in a temporary file, which goes with it.

    Args:
        uri: what it is made of.
        tables: its rows, in tables of any size.
        kind: their schema.
        settings: how it was made; called once the tables have been read.
        twice: what to say of an image that has two rows.

    Raises:
        ManifestError: an image has two rows.
        StorageError: there is no room for the file.
    """
    made: dict[str, Any] = {}

    def metadata() -> dict[bytes, bytes]:
        made.update(settings())
        return manifest.metadata_of(made)

    with tempfile.NamedTemporaryFile() as file, filesystem.explained(file.name, "written"):
        with parquet_files.writing(file.name, kind, metadata) as writer:
            for rows in in_pieces(tables, _ROWS):
                writer.write_table(rows)
        # stays readable while it is open
        images = ManifestFile(uri, pa.OSFile(file.name), made, twice=twice)
    images.check()
    return images


class ManifestFile:
    """A manifest on disk; one on S3 is copied to a temporary file. See `Images`.

    Attributes:
        uri: for messages.
        settings: how it was made.
        sample: the paths of some images, from the first to the last.
        is_sorted: whether the rows are in the order of their paths.
    """

    def __init__(
        self,
        uri: str,
        file: pa.NativeFile,
        settings: Mapping[str, Any],
        *,
        twice: Callable[[str], str] | None = None,
    ) -> None:
        """Read it from an open file, which may be replaced or deleted in the meantime."""
        self.uri = uri
        self.sample = pa.chunked_array([], pa.string())
        self.settings = settings
        self._file = file
        self._twice = twice or (lambda path: f"{uri} has two rows of {path}; index it again.")
        self._num_by_split: Counter[str] = Counter()
        self.is_sorted = True

    @property
    def columns(self) -> pa.Schema:
        """Those of a manifest, and after these any others."""
        return pq.ParquetFile(self._file).schema_arrow.remove_metadata()

    def check(self) -> None:
        """Look at the path and split of every row.

        Raises:
            ManifestError: the file is damaged, or an image has two rows.
        """
        last = pa.nulls(0, pa.string())
        sample = []
        for rows in self._read(["path", "split"]):
            self._num_by_split.update(num_by_split(rows))
            paths = rows["path"]
            joined = pa.chunked_array([last, *paths.chunks])
            self.is_sorted = self.is_sorted and is_increasing(joined)
            last = paths.slice(len(paths) - 1).combine_chunks()
            sample.append(paths[0])
        self.sample = pa.chunked_array([sample, last], pa.string())
        if not self.is_sorted:
            # sorts the rows, which shows images with two; kept for later
            _ = self.fingerprint

    @functools.cached_property
    def fingerprint(self) -> str:
        """See `Manifest.fingerprint`.

        Raises:
            ManifestError: an image has two rows.
        """
        return fingerprint_of(self.ordered(FINGERPRINTED))

    def check_apart(self, output: str) -> None:
        """Raise InputError if an output would be among the images, or contain some of them."""
        apart.check(output, self.settings.get("sources", ()))
        apart.check_images(output, (rows["path"] for rows in self._read(["path"])))

    def count(self, split: str) -> int:
        """How many images a split has; raises ManifestError if it has none."""
        return num_in_split(self._num_by_split, split)

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of a split in the order of the file, a few at a time."""
        for rows in self._read(list(dict.fromkeys([*columns, "split"]))):
            yield in_split(rows, split).select(columns)

    def ordered(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of every split in the order of their paths.

        Raises:
            ManifestError: an image has two rows.
        """
        rows = self._read(columns)
        return rows if self.is_sorted else self._each_once(rows)

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
                raise ManifestError(self._twice(twice))
            last = paths.slice(len(paths) - 1).combine_chunks()
            yield ordered
