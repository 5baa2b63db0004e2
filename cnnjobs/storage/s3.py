"""S3 for the storage layer: one client, whole bodies, retries, and errors in words.

Uses boto3 for everything: its credential chain knows every kind of profile and renews credentials
that expire, which pyarrow's does not. For 700 kB files from a local server it reads 507 per second
with 16 threads at 1.7 ms of CPU each; pyarrow reads 658 at 1.6 ms (HEAD and GET), and does not
report its retries.
"""

import io
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from botocore.parsers import ResponseParserError

from cnnjobs.errors import ConfigError
from cnnjobs.regular_files import TooLargeError
from cnnjobs.storage import s3_errors, s3_retries
from cnnjobs.storage.s3_retries import num_retries as num_retries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

#: If set to 1, requests are not signed.
ANONYMOUS = "CNNJOBS_S3_ANONYMOUS"

#: Variables that say where S3 is and as whom to connect, without being secret.
_PLACE = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    ANONYMOUS,
    s3_retries.REACHED,
)
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

#: Connections kept open: more simultaneous requests would each open a new one.
_MAX_CONNECTIONS = 64

#: Time limit for a body, plus one second per 100 kB: slower ones are requested again.
_BODY_S = 20.0
_SLOWEST_BYTES_PER_S = 100_000
_CHUNK_BYTES = 1 << 14
#: Part size of a multipart upload.
_PART_BYTES = 64 << 20

_lock = threading.Lock()
_client: "S3Client | None" = None


def use(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    anonymous: bool = False,
) -> None:
    """Set the S3 server and identity for this process and its children; None changes nothing.

    Args:
        endpoint: `http(s)://HOST[:PORT]` of a server other than AWS.
        region: of the bucket.
        profile: of AWS's configuration; it overrides keys in the environment, which are removed
            from it.
        anonymous: do not sign requests.

    Raises:
        ConfigError: the endpoint is not such a URL.
    """
    if endpoint is not None:
        os.environ["AWS_ENDPOINT_URL_S3"] = checked_endpoint(endpoint)
    if region is not None:
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
    if profile is not None:
        os.environ["AWS_PROFILE"] = profile
        for name in _KEYS:
            os.environ.pop(name, None)
    if anonymous:
        os.environ[ANONYMOUS] = "1"
    forget()


def forget() -> None:
    """Make the next request read the environment again."""
    global _client
    with _lock:
        if _client is not None:
            _client.close()
        _client = None
        os.environ.pop(s3_retries.REACHED, None)


def environment() -> dict[str, str]:
    """The variables that let another process, even on another machine, use the same server.

    Never a key: remote processes show their environment in logs and dashboards. The machines of a
    cluster have a role or a profile of their own.
    """
    return {name: os.environ[name] for name in _PLACE if name in os.environ}


def checked_endpoint(endpoint: str) -> str:
    """The endpoint, if it is a URL that names a server and nothing else.

    Raises:
        ConfigError: it is not, or it contains a password.
    """
    parts = urlsplit(endpoint)
    shown = endpoint.rpartition("@")[2].partition("?")[0]
    if "@" in endpoint:
        raise ConfigError(
            f"the S3 endpoint (…@{shown}) must not contain a password; provide keys through a "
            "profile or the environment."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigError(f"the S3 endpoint must be http://HOST or https://HOST, got {shown}.")
    return endpoint.rstrip("/")


def client() -> "S3Client":
    """The boto3 client, created once per process; thread-safe.

    Raises:
        OSError: the settings do not allow creating a client (an unknown profile, for example).
        ConfigError: the endpoint in the environment is not a URL.
    """
    global _client
    with _lock:
        if _client is None:
            try:
                _client = _new_client()
            except (BotoCoreError, ValueError) as error:
                raise s3_errors.translated(error) from error
        return _client


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


def split(path: str) -> tuple[str, str]:
    """The bucket and the key of `bucket/key`."""
    bucket, _, key = path.partition("/")
    return bucket, key


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
    """All pages of ListObjectsV2 for `bucket/prefix/`, sorted by key."""
    after = None
    while True:
        answer = page(path, after=after, delimiter=delimiter, size=size)
        yield answer
        after = answer.get("NextContinuationToken")
        if not answer.get("IsTruncated") or after is None:
            return


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
    return error.strerror or str(error).splitlines()[0].rstrip(".")


def asked(ask: Callable[[], T]) -> T:
    """What a request answers; it is retried while its failure may pass.

    Raises:
        FileNotFoundError, PermissionError, OSError: with the reason in words.
    """
    try:
        return s3_retries.patiently(ask)
    except (BotoCoreError, ClientError, ResponseParserError, s3_retries.SlowBodyError) as error:
        raise s3_errors.translated(error) from error


def _body(answer: Any, first: int | None, limit: int | None) -> bytes:
    """All bytes of a body: no fewer than announced, and within the time limit."""
    expected, body = answer["ContentLength"], answer["Body"]
    if first is not None and expected > first:  # the server ignores ranges
        return bytes(body.read(first))
    if limit is not None and expected > limit:
        body.close()
        raise TooLargeError.of(expected, limit)
    latest = monotonic() + _BODY_S + expected / _SLOWEST_BYTES_PER_S
    pieces = []
    with body:
        for piece in body.iter_chunks(_CHUNK_BYTES):
            pieces.append(piece)
            if monotonic() > latest:
                raise s3_retries.SlowBodyError("the body arrives too slowly")
    data = b"".join(pieces)
    if len(data) != expected:
        raise IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
    return data


def _new_client() -> "S3Client":
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import get_session

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        endpoint = checked_endpoint(endpoint)
        # servers other than AWS may answer 411 to the checksum trailers of new clients
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    settings = Config(
        # for each connection and each piece of a response; botocore's default of 60 s looks like a
        # hang
        connect_timeout=5,
        read_timeout=20,
        max_pool_connections=_MAX_CONNECTIONS,
        # see `s3_retries.patiently`
        retries={"mode": "standard", "total_max_attempts": 1},
        signature_version=UNSIGNED if os.environ.get(ANONYMOUS) == "1" else None,
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # a separate session: boto3's default one keeps the first credentials it finds
    session = get_session()
    # botocore's parser takes most of the time of a listing of a million keys
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    made = boto3.Session(botocore_session=session, region_name=region)
    return made.client("s3", endpoint_url=endpoint, config=settings)


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(text)
