"""Files on local disk and S3 under one kind of name: an absolute path or `s3://bucket/key`."""

import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from cnnjobs import s3
from cnnjobs.errors import StorageError


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One listed file: what a listing tells without opening it."""

    path: str
    size_bytes: int
    modified: datetime
    etag: str | None


def normalize(uri: str | Path) -> str:
    """An absolute local path, or `s3://bucket/key` without a slash at its end."""
    text = str(uri)
    if is_s3(text):
        if not text.removeprefix("s3://").split("/")[0]:
            raise StorageError(f"{text} names no bucket; write s3://bucket/prefix.")
        return text.rstrip("/")
    if "://" in text:
        raise StorageError(f"{text} is neither a local path nor s3://bucket/prefix.")
    return str(Path(text).expanduser().absolute())


def is_s3(uri: str) -> bool:
    """Whether the name is one of S3's."""
    return uri.startswith("s3://")


def join(uri: str, *names: str) -> str:
    """The name of something under a folder or prefix."""
    return "/".join([uri.rstrip("/"), *names])


def relative(path: str, root: str) -> str:
    """`path` as seen from the folder or prefix `root` that it was listed under."""
    return path.removeprefix(root.rstrip("/") + "/")


def list_files(uri: str) -> Iterator[FileInfo]:
    """Every file under a folder or prefix, sorted by path within each folder.

    Links to files and folders are followed; a folder reached twice is listed once.

    Raises:
        StorageError: the folder or bucket is missing or may not be read, in part or whole.
    """
    if is_s3(uri):
        return _list_s3(uri)
    with _explained(uri, "listed"):
        if not Path(uri).is_dir():
            kind = "is a file, not a folder" if Path(uri).exists() else "does not exist"
            raise StorageError(f"{uri} {kind}.")
    return _list_local(uri, seen=set())


def names(uri: str) -> list[str]:
    """Sorted names of the whole files right in a folder; [] if it is not there."""
    system, path = filesystem(uri)
    with _explained(uri, "listed"):
        files = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(
        file.base_name
        for file in files
        if file.type == fs.FileType.File and not file.base_name.startswith(".")
    )


def exists(uri: str) -> bool:
    """Whether there is a file or a folder (or any key under the prefix) of that name."""
    return bool(_file_type(uri) != fs.FileType.NotFound)


def is_file(uri: str) -> bool:
    """Whether the name is that of one file."""
    return bool(_file_type(uri) == fs.FileType.File)


def is_empty(uri: str) -> bool:
    """Whether nothing stands there: no file, and no folder with anything in it."""
    kind = _file_type(uri)
    if kind != fs.FileType.Directory:
        return bool(kind == fs.FileType.NotFound)
    system, path = filesystem(uri)
    with _explained(uri, "read"):
        return not system.get_file_info(fs.FileSelector(path))


def read_bytes(uri: str) -> bytes:
    """The whole file. Raises OSError (FileNotFoundError, PermissionError) as the system does."""
    if not is_s3(uri):
        return Path(uri).read_bytes()
    system, path = filesystem(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


def read_file(uri: str) -> bytes:
    """The whole file. Raises FileNotFoundError, and StorageError for all else."""
    try:
        return read_bytes(uri)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{uri} cannot be read: {s3.reason(error)}.") from error


def write_bytes(uri: str, data: bytes) -> None:
    """Write the whole file or nothing: aside, then renamed (S3 itself puts whole objects).

    Raises:
        StorageError: there is no permission or no space.
    """
    if is_s3(uri):
        system, path = filesystem(uri)
        with _explained(uri, "written"), system.open_output_stream(path) as stream:
            stream.write(data)
        return
    target = Path(uri)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    with _explained(uri, "written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def write_folder(uri: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a new folder of many files, by name in it: aside, then renamed.

    One flush to disk for all, where `write_bytes` makes one a file. On S3, which cannot
    rename, the objects are put one by one: write what vouches for them afterwards.

    Raises:
        StorageError: there is no permission or no space.
    """
    if is_s3(uri):
        with ThreadPoolExecutor(32) as pool:
            for _ in pool.map(lambda file: write_bytes(join(uri, file[0]), file[1]), files):
                pass
        return
    target = Path(uri)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    with _explained(uri, "written"):
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
    """Write a table as one Parquet file, whole or not at all; see `write_bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(uri, sink.getvalue().to_pybytes())


def delete(uri: str) -> None:
    """Delete a file, or a folder (prefix) with all that is in it."""
    if is_s3(uri):
        with _explained(uri, "deleted"):
            s3.delete(uri.removeprefix("s3://"), one_key=is_file(uri))
        return
    with _explained(uri, "deleted"):
        if Path(uri).is_dir():
            shutil.rmtree(uri)
        else:
            Path(uri).unlink()


def check_writable(uri: str) -> None:
    """Raise StorageError now if nothing could be written under `uri` at the end of a job."""
    if is_s3(uri):
        probe = join(uri, f".cnnjobs-{uuid.uuid4().hex}")
        write_bytes(probe, b"")
        delete(probe)
        return
    with _explained(uri, "written"):
        nearest = next(folder for folder in (Path(uri), *Path(uri).parents) if folder.exists())
    if not nearest.is_dir():
        raise StorageError(f"{uri} cannot be written: {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"{uri} cannot be written: no permission to write in {nearest}.")


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow filesystem for a name, and the name as that filesystem wants it."""
    if is_s3(uri):
        return s3.filesystem(), uri.removeprefix("s3://")
    return fs.LocalFileSystem(), uri


def _file_type(uri: str) -> fs.FileType:
    system, path = filesystem(uri)
    with _explained(uri, "read"):
        return system.get_file_info(path).type


def _list_local(folder: str, seen: set[tuple[int, int]]) -> Iterator[FileInfo]:
    try:
        status = os.stat(folder)  # noqa: PTH116 - names stay text: Path normalizes them away
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            return
        seen.add(identity)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(f"{folder} cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if not entry.name.isprintable() and not _is_utf8(entry.name):
            raise StorageError(f"{entry.path!r} has a name that is not UTF-8; rename it.")
        try:
            is_folder = entry.is_dir()
        except OSError:
            is_folder = False  # a link to itself
        if is_folder:
            yield from _list_local(entry.path, seen)
            continue
        try:
            status = entry.stat()
        except OSError:
            # a link to nothing: listed, so that it ends as a row with an error
            status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            modified = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC)
            yield FileInfo(path=entry.path, size_bytes=status.st_size, modified=modified, etag=None)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _list_s3(uri: str) -> Iterator[FileInfo]:
    with _explained(uri, "listed"):
        for item in s3.list_objects(uri.removeprefix("s3://")):
            yield FileInfo(**item)


class _explained:  # noqa: N801 - reads as a word in `with`
    """Turn what storage libraries raise into one StorageError line, without credentials."""

    def __init__(self, uri: str, done: str) -> None:
        self.uri = uri
        self.done = done

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reason = s3.reason(error)
        if reason is not None:
            raise StorageError(f"{self.uri} cannot be {self.done}: {reason}.") from error
