"""S3 for the storage layer: one client, whole bodies, retries, and errors in words.

Uses boto3 for everything: its credential chain knows every kind of profile and renews credentials
that expire, which pyarrow's does not. For 700 kB files from a local server it reads 507 per second
with 16 threads at 1.7 ms of CPU each; pyarrow reads 658 at 1.6 ms (HEAD and GET), and does not
report its retries.
"""

import io
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import IO, Any, TypeVar

from botocore.exceptions import ClientError, IncompleteReadError

from cnnjobs.config.regular_files import TooLargeError
from cnnjobs.storage import s3_errors, s3_retries
from cnnjobs.storage.s3_client import client as client
from cnnjobs.storage.s3_client import environment as environment
from cnnjobs.storage.s3_client import forget as forget
from cnnjobs.storage.s3_client import use as use
from cnnjobs.storage.s3_names import split as split
from cnnjobs.storage.s3_retries import num_retries as num_retries

T = TypeVar("T")


class ChangedError(OSError):
    """An object is no longer the one that was listed."""


#: Time limit for a body, plus one second per 100 kB: slower ones are requested again.
_BODY_S = 20.0
_SLOWEST_BYTES_PER_S = 100_000
_CHUNK_BYTES = 1 << 14
#: Part size of a multipart upload.
_PART_BYTES = 64 << 20


def read(path: str, *, first: int | None = None, limit: int | None = None) -> bytes:
    """The object `bucket/key`, all of at most `limit` bytes or nothing; or its `first` bytes.

    Raises:
        FileNotFoundError, PermissionError, TooLargeError, OSError: with the reason in words.
    """
    bucket, key = split(path)
    more: Any = {} if first is None else {"Range": f"bytes=0-{first - 1}"}

    def ask() -> bytes:
        try:
            answer = client().get_object(Bucket=bucket, Key=key, **more)
        except ClientError as error:
            if first is not None and s3_errors.status(error) == 416:
                return b""  # an empty object has no first byte
            raise
        return _body(answer, first, limit)

    return asked(ask)


def read_part(path: str, start: int, size: int, *, etag: str) -> bytes:
    """So many bytes of the object `bucket/key`, from a position on.

    Raises:
        ChangedError: the object has another ETag.
        FileNotFoundError, PermissionError, OSError: with the reason in words.
    """
    bucket, key = split(path)

    def ask() -> bytes:
        part = f"bytes={start}-{start + size - 1}"
        try:
            answer = client().get_object(Bucket=bucket, Key=key, Range=part)
        except ClientError as error:
            if s3_errors.status(error) == 416:
                raise ChangedError("the object has changed") from error
            raise
        if answer["ETag"].strip('"') != etag:
            answer["Body"].close()
            raise ChangedError("the object has changed")
        if answer["ContentLength"] != size:
            answer["Body"].close()
            raise OSError("the server does not send parts of objects")
        return _body(answer, None, None)

    return asked(ask)


def state(path: str) -> tuple[int, str]:
    """Size and ETag of the object `bucket/key`; raises like `read`."""
    bucket, key = split(path)
    answer = asked(lambda: client().head_object(Bucket=bucket, Key=key))
    return answer["ContentLength"], answer["ETag"].strip('"')


def modified(path: str) -> datetime:
    """When the object `bucket/key` was written; raises like `read`."""
    bucket, key = split(path)
    return asked(lambda: client().head_object(Bucket=bucket, Key=key))["LastModified"]


def read_into(path: str, file: IO[bytes]) -> None:
    """Write the object `bucket/key`, of any size, to an empty file; raises like `read`."""
    bucket, key = split(path)

    def ask() -> None:
        file.seek(0)
        file.truncate()
        answer = client().get_object(Bucket=bucket, Key=key)
        for piece in _pieces(answer["Body"], answer["ContentLength"]):
            file.write(piece)

    asked(ask)


def write(path: str, data: bytes) -> None:
    """Put the object `bucket/key`, completely or not at all."""
    bucket, key = split(path)
    # a stream is sent in pieces with a time limit each; bytes would have one limit in total
    asked(lambda: client().put_object(Bucket=bucket, Key=key, Body=io.BytesIO(data)))


def write_file(path: str, file: Path) -> None:
    """Put a file of any size as the object `bucket/key`, in parts; completely or not at all."""
    from boto3.s3.transfer import TransferConfig

    bucket, key = split(path)
    # S3 accepts at most 10,000 parts
    in_turn = TransferConfig(multipart_chunksize=_PART_BYTES, use_threads=False)

    def ask() -> None:
        # opened for each attempt: boto3 closes what it has sent
        with file.open("rb") as data:
            client().upload_fileobj(data, bucket, key, Config=in_turn)

    asked(ask)


def is_object(path: str) -> bool:
    """Whether the object `bucket/key` exists."""
    bucket, key = split(path)
    if not key:
        return False
    try:
        asked(lambda: client().head_object(Bucket=bucket, Key=key))
    except FileNotFoundError:
        return False
    return True


def page(
    path: str, *, after: str | None = None, delimiter: str = "", size: int = 1000
) -> dict[str, Any]:
    """One page of ListObjectsV2 for `bucket/prefix/`.

    Args:
        path: `bucket` or `bucket/prefix`.
        after: NextContinuationToken of the previous page.
        delimiter: with `/`, lists direct children and the prefixes below.
        size: largest number of keys and prefixes.
    """
    bucket, prefix = split(path)
    more: Any = {} if after is None else {"ContinuationToken": after}
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    answer: Any = asked(
        lambda: client().list_objects_v2(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=size, **more
        )
    )
    # some tools put an empty object to represent a folder
    found = [item for item in answer.get("Contents", []) if not item["Key"].endswith("/")]
    return {**answer, "Contents": found}


def pages(path: str, *, delimiter: str = "", size: int = 1000) -> Iterator[dict[str, Any]]:
    """All pages of ListObjectsV2 for `bucket/prefix/`, sorted by key.

    Raises:
        OSError: the server says that there is more, but not where it continues.
    """
    after, seen = None, set()
    while True:
        answer = page(path, after=after, delimiter=delimiter, size=size)
        yield answer
        if not answer.get("IsTruncated"):
            return
        after = answer.get("NextContinuationToken")
        if not after or after in seen:
            raise OSError(s3_errors.INCOMPLETE)
        seen.add(after)


def delete(path: str, *, one_key: bool) -> None:
    """Delete the object `bucket/key`, or all objects under `bucket/prefix/`."""
    bucket, key = split(path)
    keys = [key]
    if not one_key:
        keys = [item["Key"] for answer in pages(path) for item in answer["Contents"]]
    for name in keys:
        asked(lambda name=name: client().delete_object(Bucket=bucket, Key=name))  # type: ignore[misc]


def reason(error: BaseException | None) -> str | None:
    """The reason in words, if `error` came from storage; otherwise None."""
    if not isinstance(error, OSError):
        return None
    return error.strerror or str(error).partition("\n")[0].rstrip(".")


def asked(ask: Callable[[], T]) -> T:
    """What a request answers; it is retried while its failure may pass.

    Raises:
        FileNotFoundError, PermissionError, OSError: with the reason in words.
    """
    try:
        return s3_retries.patiently(ask)
    except s3_retries.failures() as error:
        raise s3_errors.translated(error) from error


def _body(answer: Any, first: int | None, limit: int | None) -> bytes:
    """All bytes of a body: no fewer than announced, and within the time limit."""
    expected, body = answer["ContentLength"], answer["Body"]
    if first is not None and expected > first:  # the server ignores ranges
        return bytes(body.read(first))
    if limit is not None and expected > limit:
        body.close()
        raise TooLargeError.of(expected, limit)
    return b"".join(_pieces(body, expected))


def _pieces(body: Any, expected: int) -> Iterator[bytes]:
    """A body piece by piece: no fewer bytes than announced, and within the time limit."""
    latest = monotonic() + _BODY_S + expected / _SLOWEST_BYTES_PER_S
    received = 0
    with body:
        for piece in body.iter_chunks(_CHUNK_BYTES):
            received += len(piece)
            yield piece
            if monotonic() > latest:
                raise s3_retries.SlowBodyError("the body arrives too slowly")
    if received != expected:
        raise IncompleteReadError(actual_bytes=received, expected_bytes=expected)
