"""Files on local disk and S3 under one kind of name: an absolute path or `s3://bucket/key`."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs.config import regular_files
from cnnjobs.errors import StorageError
from cnnjobs.storage import archives, listing, local_listing, s3, s3_names
from cnnjobs.storage.names import is_s3 as is_s3
from cnnjobs.storage.names import join as join
from cnnjobs.storage.names import normalize as normalize
from cnnjobs.storage.names import relative as relative

#: Largest file that is read by default: a manifest of 10 million images has about 1 GB.
_MAX_BYTES = 8 << 30


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One listed file, as far as a listing reveals it."""

    path: str
    size_bytes: int
    modified: datetime
    etag: str | None


def list_files(uri: str) -> Iterator[FileInfo]:
    """Every file under a folder or prefix; see `list_tables`."""
    return (FileInfo(**row) for table in list_tables(uri) for row in table.to_pylist())


def list_tables(
    uri: str,
    *,
    skip: Callable[[str], str | None] = lambda path: None,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[pa.Table]:
    """Every file under a folder or prefix, as tables of `listing.LISTING`.

    Sorted by key on S3, and by path within each folder on local disk; see `local_listing.tables`.

    Args:
        uri: the folder or prefix.
        skip: why a local folder below is not opened, by its path; None to open it.
        left_out: called with the path of each local folder that is not listed, and why; without
            it, one that cannot be listed is an error.

    Raises:
        StorageError: the folder or bucket does not exist or cannot be fully read.
    """
    if is_s3(uri):
        return _list_s3(uri)
    with explained(uri, "listed"):
        if not Path(uri).is_dir():
            kind = "is a file, not a folder" if Path(uri).exists() else "does not exist"
            raise StorageError(f"{uri} {kind}.")
    return local_listing.tables(uri, skip=skip, left_out=left_out)


def names(uri: str) -> list[str]:
    """Sorted names of the complete files directly in a folder; [] if it does not exist."""
    with explained(uri, "listed"):
        if is_s3(uri):
            answers = s3.pages(_s3_path(uri), delimiter="/")
            keys = [item["Key"] for answer in answers for item in answer["Contents"]]
            found = [key.rsplit("/", 1)[-1] for key in keys]
        elif Path(uri).is_dir():
            found = [entry.name for entry in os.scandir(uri) if entry.is_file()]
        else:
            found = []
    return sorted(name for name in found if not name.startswith("."))


def exists(uri: str) -> bool:
    """Whether a file, a folder or any key under the prefix exists."""
    with explained(uri, "read"):
        if is_s3(uri):
            return s3.is_object(_s3_path(uri)) or _has_keys(uri)
        return Path(uri).exists()


def is_file(uri: str) -> bool:
    """Whether the name is a file, or a member of an archive."""
    with explained(uri, "read"):
        if _is_member(uri) and archives.contains(uri):
            return True
        return s3.is_object(_s3_path(uri)) if is_s3(uri) else Path(uri).is_file()


def is_empty(uri: str) -> bool:
    """Whether nothing exists there: no file, and no folder with anything in it."""
    with explained(uri, "read"):
        if is_s3(uri):
            return not (s3.is_object(_s3_path(uri)) or _has_keys(uri))
        if Path(uri).is_dir():
            return next(Path(uri).iterdir(), None) is None
        return not Path(uri).exists()


def read_bytes(uri: str, *, limit: int = _MAX_BYTES, pipes: bool = False) -> bytes:
    """The whole file, or member of an archive, of at most `limit` bytes.

    Raises OSError like `regular_files.read`, and DamagedError like `archives.read`.
    """
    if _is_member(uri):
        with contextlib.suppress(FileNotFoundError):
            return archives.read(uri, limit=limit)
    if is_s3(uri):
        return s3.read(_s3_path(uri), limit=limit)
    return regular_files.read(uri, limit=limit, pipes=pipes)


def read_first(uri: str, num_bytes: int) -> bytes:
    """The first bytes of a file, fewer if it is shorter. Raises OSError like `read_bytes`."""
    if _is_member(uri):
        with contextlib.suppress(FileNotFoundError):
            return archives.read_first(uri, num_bytes)
    if is_s3(uri):
        return s3.read(_s3_path(uri), first=num_bytes)
    return regular_files.read_first(uri, num_bytes)


def read_file(uri: str, *, limit: int = _MAX_BYTES) -> bytes:
    """The whole file. Raises FileNotFoundError, and StorageError for everything else."""
    try:
        return read_bytes(uri, limit=limit)
    except FileNotFoundError:
        raise
    except (OSError, MemoryError) as error:
        reason = s3.reason(error) or "it takes more memory than there is"
        raise StorageError(f"{uri} cannot be read: {reason}.") from error


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file or nothing: under a temporary name, then renamed (S3 puts whole objects).

    Raises:
        StorageError: no permission or no space.
    """
    if is_s3(uri):
        with explained(uri, "written"):
            s3.write(_s3_path(uri), data)
        return
    with writing(uri) as file:
        file.write(data)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[IO[bytes]]:
    """A file to write piece by piece; when the block ends, it is complete or absent.

    For what may not fit in memory; an object for S3 is first collected in a temporary file. Raises
    like `write_bytes`.
    """
    if is_s3(uri):
        with explained(uri, "written"), tempfile.NamedTemporaryFile() as file:
            yield file.file
            file.file.flush()
            s3.write_file(_s3_path(uri), Path(file.name))
        return
    target = Path(uri)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    with explained(uri, "written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def write_folder(uri: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a new folder of many files, given by name: under a temporary name, then renamed.

    Flushes to disk once for all files, where `write_bytes` does so for each. On S3, which cannot
    rename, objects are put one by one: write whatever marks them as complete afterwards.

    Raises:
        StorageError: no permission or no space.
    """
    if is_s3(uri):
        with ThreadPoolExecutor(32) as pool:
            for _ in pool.map(lambda file: write_bytes(join(uri, file[0]), file[1]), files):
                pass
        return
    target = Path(uri)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    with explained(uri, "written"):
        try:
            aside.mkdir(parents=True)
            made = set()
            for name, data in files:
                folder, _, _ = name.rpartition("/")
                if folder not in made:
                    (aside / folder).mkdir(parents=True, exist_ok=True)
                    made.add(folder)
                (aside / name).write_bytes(data)
            os.sync()
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def write_table(uri: str, table: pa.Table) -> None:
    """Write a table as one Parquet file, completely or not at all; see `write_bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(uri, sink.getvalue().to_pybytes())


def delete(uri: str) -> None:
    """Delete a file, or a folder (prefix) with everything in it."""
    if is_s3(uri):
        with explained(uri, "deleted"):
            s3.delete(_s3_path(uri), one_key=is_file(uri))
        return
    with explained(uri, "deleted"):
        if Path(uri).is_dir():
            shutil.rmtree(uri)
        else:
            Path(uri).unlink()


def check_readable(uri: str) -> None:
    """Raise StorageError now if what is under `uri`, or the file of that name, cannot be read.

    On S3, one byte of the object is read, or of the first one under the prefix, because permission
    to list does not imply permission to read. Missing files are left for the job to report.
    """
    if not is_s3(uri):
        with explained(uri, "read"):
            exists_here = Path(uri).exists()
        if exists_here and not os.access(uri, os.R_OK | (os.X_OK if Path(uri).is_dir() else 0)):
            raise StorageError(f"{uri} cannot be read: no permission.")
        return
    path = _s3_path(archives.archive_of(uri))
    # without permission to list, a missing key looks denied: continue, and let the listing decide
    with explained(uri, "read"), contextlib.suppress(FileNotFoundError, PermissionError):
        if s3_names.split(path)[1]:
            s3.read(path, first=1)
            return
    with explained(uri, "listed"):
        answers = s3.pages(path, size=10)
        first = next((item for answer in answers for item in answer["Contents"]), None)
    if first is not None:
        bucket, _ = s3_names.split(path)
        with explained(f"s3://{bucket}/{first['Key']}", "read"):
            s3.read(f"{bucket}/{first['Key']}", first=1)


def check_writable(uri: str) -> None:
    """Raise StorageError now if nothing could be written under `uri` at the end of a job."""
    if is_s3(uri):
        probe = join(uri, f".cnnjobs-{uuid.uuid4().hex}")
        write_bytes(probe, b"")
        delete(probe)
        return
    with explained(uri, "written"):
        nearest = next(folder for folder in (Path(uri), *Path(uri).parents) if folder.exists())
    if not nearest.is_dir():
        raise StorageError(f"{uri} cannot be written: {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"{uri} cannot be written: no permission to write in {nearest}.")


def _is_member(uri: str) -> bool:
    """Whether a path is read as that of an archive's member; a file may have such a name, too."""
    if not any(archives.splits(uri)):
        return False
    return is_s3(uri) or not os.path.lexists(uri) or archives.contains(uri)


def _s3_path(uri: str) -> str:
    return uri.removeprefix("s3://")


def _has_keys(uri: str) -> bool:
    return any(answer["Contents"] for answer in s3.pages(_s3_path(uri), size=10))


def _list_s3(uri: str) -> Iterator[pa.Table]:
    with explained(uri, "listed"):
        yield from listing.s3_tables(_s3_path(uri))


class explained:  # noqa: N801 - reads as a word in `with`
    """Turn exceptions of storage libraries into a one-line StorageError without credentials."""

    def __init__(self, uri: str, done: str) -> None:
        self.uri = uri
        self.done = done

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reason = s3.reason(error)
        if reason is not None:
            raise StorageError(f"{self.uri} cannot be {self.done}: {reason}.") from error
