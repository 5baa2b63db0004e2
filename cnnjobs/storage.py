"""Files on local disk and S3 under one kind of name: an absolute path or `s3://bucket/key`."""

import functools
import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import fs

from cnnjobs.errors import StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


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
    return not system.get_file_info(fs.FileSelector(path))


def read_bytes(uri: str) -> bytes:
    """The whole file. Raises OSError (FileNotFoundError, PermissionError) as the system does."""
    if not is_s3(uri):
        return Path(uri).read_bytes()
    system, path = filesystem(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


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


def delete(uri: str) -> None:
    """Delete a file, or a folder (prefix) with all that is in it."""
    system, path = filesystem(uri)
    with _explained(uri, "deleted"):
        if is_file(uri):
            system.delete_file(path)
        else:
            system.delete_dir(path)


def check_writable(uri: str) -> None:
    """Raise StorageError now if nothing could be written under `uri` at the end of a job."""
    if is_s3(uri):
        probe = join(uri, f".cnnjobs-{uuid.uuid4().hex}")
        write_bytes(probe, b"")
        delete(probe)
        return
    nearest = next(folder for folder in (Path(uri), *Path(uri).parents) if folder.exists())
    if not nearest.is_dir():
        raise StorageError(f"{uri} cannot be written: {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"{uri} cannot be written: no permission to write in {nearest}.")


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow filesystem for a name, and the name as that filesystem wants it."""
    if is_s3(uri):
        return _s3_filesystem(), uri.removeprefix("s3://")
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
        if entry.is_dir():
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
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if prefix:
        prefix += "/"
    pages = _s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with _explained(uri, "listed"):
        for page in pages:
            for item in page.get("Contents", []):
                # some tools put an empty object where a folder should show
                if item["Key"].endswith("/"):
                    continue
                yield FileInfo(
                    path=f"s3://{bucket}/{item['Key']}",
                    size_bytes=item["Size"],
                    modified=item["LastModified"].astimezone(UTC),
                    etag=item["ETag"].strip('"'),
                )


class _explained:  # noqa: N801 - reads as a word in `with`
    """Turn what storage libraries raise into one StorageError line, without credentials."""

    def __init__(self, uri: str, done: str) -> None:
        self.uri = uri
        self.done = done

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reason = _reason(error)
        if reason is not None:
            raise StorageError(f"{self.uri} cannot be {self.done}: {reason}.") from error


def _reason(error: BaseException | None) -> str | None:
    """Why, in words, if `error` came from storage; None if it did not."""
    if error is None:
        return None
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    for sign, words in _S3_REASONS.items():
        if sign in text:
            return words
    if isinstance(error, OSError):
        return text.splitlines()[0].rstrip(".")
    if type(error).__module__.startswith("botocore"):
        return text.splitlines()[0].rstrip(".")
    return None


#: S3's error codes (and boto3's own words) in a user's words.
_S3_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "S3 does not know this access key",
    "SignatureDoesNotMatch": "S3 refuses the secret key",
    "ExpiredToken": "the S3 credentials have expired",
    "AccessDenied": "S3 denies access with these credentials",
    "ACCESS_DENIED": "S3 denies access with these credentials",
    "Unable to locate credentials": (
        "no S3 credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ),
    "Could not connect to the endpoint": "the S3 endpoint does not answer",
}


@functools.cache
def _s3_client() -> "S3Client":
    import boto3

    return boto3.client("s3", endpoint_url=_s3_endpoint())


@functools.cache
def _s3_filesystem() -> fs.S3FileSystem:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(endpoint_override=_s3_endpoint(), region=region)


def _s3_endpoint() -> str | None:
    """Where S3 is, if not at AWS; makes the clients' checksums fit it."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        # servers other than AWS may answer 411 to the checksum trailers of new clients
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return endpoint
