"""The folders of `--partition-by`, named so that every reader gets the rows as they are."""

import hashlib
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.data import exclude
from cnnjobs.storage import archives

#: The key of all folders. Readers add a column of its name, which must not be in the parts, and
#: guess its type, which their values must not depend on: `label_03` is a number to none.
_KEY = "folder"

#: In runs of older versions: the folder whose value is null.
_NULL = "__HIVE_DEFAULT_PARTITION__"

#: A longer folder name is cut, because file systems allow 255 bytes.
_MAX_QUOTED, _NUM_KEPT = 180, 14


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Which folder each row belongs to.

    Attributes:
        by: `label`, or `prefix`: the first folder of a path below one of `roots`, a new column.
        roots: folders and prefixes of the data.
        is_old: name folders as older versions did, for a run that has such folders.
    """

    by: str
    roots: Sequence[str] = ()
    is_old: bool = False

    def split(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Each folder, with a slash at its end, and its rows."""
        if self.by == "label":
            values = rows["label"].combine_chunks()
        else:
            values = self._prefixes(rows["path"])
            if not self.is_old and "prefix" not in rows.column_names:
                rows = rows.append_column("prefix", values)
        for value in pc.unique(values).to_pylist():
            folder = self._old_folder(value) if self.is_old else self._folder(value)
            is_inside = pc.is_in(values, value_set=pa.array([value], pa.string()))
            yield f"{folder}/", rows.filter(is_inside)

    def _prefixes(self, paths: pa.ChunkedArray) -> pa.Array:
        below = archives.without_archives(exclude.below(paths, self.roots))
        found = pc.extract_regex(below, r"(?s)^(?P<folder>[^/]*)/")
        return pc.struct_field(found, [0]).combine_chunks()

    def _folder(self, value: str | None) -> str:
        if value is None:
            return f"{_KEY}=no_{self.by}"
        quoted = urllib.parse.quote(value, safe="")
        if len(quoted) > _MAX_QUOTED:
            digest = hashlib.sha256(value.encode()).hexdigest()[:8]
            quoted = f"{urllib.parse.quote(value[:_NUM_KEPT], safe='')}_{digest}"
        return f"{_KEY}={self.by}_{quoted}"

    def _old_folder(self, value: str | None) -> str:
        return f"{self.by}={_NULL if value is None else urllib.parse.quote(value, safe='')}"
