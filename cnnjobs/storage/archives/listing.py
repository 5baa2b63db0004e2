"""Listings in which the members of archives stand in place of the archives."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.storage import archives, filesystem, s3
from cnnjobs.storage.archives.files import Version
from cnnjobs.storage.archives.names import SEPARATOR
from cnnjobs.storage.listing import LISTING
from cnnjobs.storage.outages import is_outage

#: Archives whose directories are read at once.
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is not an image file.

    Attributes:
        ignored: entries of archives that are no files, by what they are.
        problems: why archives cannot be read, or not to their end, by path.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)


def list_tables(
    uri: str,
    notes: Notes,
    *,
    skip: Callable[[str], str | None] = lambda path: None,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[pa.Table]:
    """Like `filesystem.list_tables`, but the members of each archive stand in its place.

    What has the name of an archive and cannot be read as one stays a file.

    Args:
        uri: the folder or prefix, or one archive.
        notes: is added to.
        skip: why a folder below, or an archive, is not opened, by its path; None to open it.
        left_out: see `filesystem.list_tables`.

    Raises:
        StorageError: see `filesystem.list_tables`.
    """
    tables: Iterator[pa.Table]
    if archives.suffix(uri) is not None and filesystem.is_file(uri):
        tables, skip = iter([_file(uri)]), lambda path: None
    else:
        tables = filesystem.list_tables(uri, skip=skip, left_out=left_out)
    with filesystem.explained(uri, "listed"):
        for listed in tables:
            yield from _expanded(_without_doubles(listed, notes), notes, skip)


def _file(uri: str) -> pa.Table:
    """One file as a listing."""
    with filesystem.explained(uri, "read"):
        version = Version.now(uri)
        row: list[Any]
        if filesystem.is_s3(uri):
            row = [uri, version.size, s3.modified(uri.removeprefix("s3://")), version.tag]
        else:
            row = [uri, version.size, int(version.tag), None]
    columns = zip(row, LISTING.types, strict=True)
    return pa.table([pa.array([value], kind) for value, kind in columns], schema=LISTING)


def _without_doubles(listed: pa.Table, notes: Notes) -> pa.Table:
    """The files but for those whose path is also that of an archive's member, which is read."""
    candidates = listed["path"].filter(pc.match_substring(listed["path"], SEPARATOR)).to_pylist()
    doubles = [path for path in candidates if archives.contains(path)]
    if not doubles:
        return listed
    notes.ignored["files named like an image in an archive"] += len(doubles)
    return listed.filter(pc.invert(pc.is_in(listed["path"], value_set=pa.array(doubles))))


def _expanded(
    listed: pa.Table, notes: Notes, skip: Callable[[str], str | None]
) -> Iterator[pa.Table]:
    """The files of a listing, with the members of each archive in its place, in its order."""
    paths = listed["path"]
    positions = pc.indices_nonzero(archives.are_archives(paths)).to_pylist()
    positions = [position for position in positions if skip(paths[position].as_py()) is None]
    if not positions:
        yield listed
        return
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        rows = ((position, listed.slice(position, 1).to_pylist()[0]) for position in positions)
        for position, members in _ahead(pool, lambda row: (row[0], _members(row[1])), rows):
            if done < position:
                yield listed.slice(done, position - done)
            done = position + 1
            notes.ignored.update(members.ignored)
            notes.problems.update(members.problems)
            yield listed.slice(position, 1) if members.table is None else members.table
    if done < listed.num_rows:
        yield listed.slice(done)


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], parts: Iterable[Any]
) -> Iterator[Any]:
    """Results in order; at most twice as many as there are threads are waiting."""
    waiting: deque[Future[Any]] = deque()
    for part in parts:
        waiting.append(pool.submit(function, part))
        if len(waiting) >= 2 * _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@dataclass(frozen=True, kw_only=True)
class _Members:
    table: pa.Table | None
    ignored: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def _members(row: dict[str, Any]) -> _Members:
    uri: str = row["path"]
    if archives.is_compressed_tar(uri):
        return _Members(
            table=None, problems={uri: "it is compressed as a whole; decompress it to .tar"}
        )
    try:
        if row["etag"] is None:
            version = Version.now(uri)
        else:
            version = Version(uri, row["size_bytes"], row["etag"])
        directory = archives.Directory(version)
    except archives.NoImagesError:
        return _Members(table=None)
    except OSError as error:
        if is_outage(error):
            raise
        reason = error.strerror or str(error)
        return _Members(table=None, problems={uri: reason})
    problems = {} if directory.problem is None else {uri: directory.problem}
    if problems and not directory.entries:
        return _Members(table=None, problems=problems, ignored=directory.ignored)
    archives.remember(directory)
    entries = directory.entries
    number = len(entries)
    table = pa.table(
        [
            pa.array([f"{uri}{SEPARATOR}{name}" for name in entries], pa.string()),
            pa.array([entry.size for entry in entries.values()], pa.int64()),
            pa.array([row["modified"]] * number, LISTING.field("modified").type),
            pa.array([archives.tag(version, entry.at) for entry in entries.values()], pa.string()),
        ],
        schema=LISTING,
    )
    return _Members(table=table, ignored=directory.ignored, problems=problems)
