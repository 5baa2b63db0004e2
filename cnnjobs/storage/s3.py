"""S3 as the storage wants it: one client, whole bodies, retries, and its errors in words.

All through boto3: its credential chain knows every kind of profile and renews what expires,
which pyarrow's does not. On 700 kB files from a local server it reads 507 a second with 16
threads for 1.7 ms of CPU each; pyarrow 658 for 1.6 (HEAD and GET), uncounted in its retries.
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
from cnnjobs.storage import s3_errors, s3_retries
from cnnjobs.storage.s3_retries import num_retries as num_retries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

#: Set to 1, requests are not signed.
ANONYMOUS = "CNNJOBS_S3_ANONYMOUS"

#: What tells where S3 is and who asks, without being a secret.
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

#: Connections kept open: more requests at once would each make a new one.
_MAX_CONNECTIONS = 64

#: A body may take so long, and a second more for every 100 kB: what is slower is asked for anew.
_BODY_S = 20.0
_SLOWEST_BYTES_PER_S = 100_000
_CHUNK_BYTES = 1 << 14
#: Of a file that is put in parts.
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
    """Say where S3 is and who asks, for this process and what it starts; None changes nothing.

    Args:
        endpoint: `http(s)://HOST[:PORT]` of a server other than AWS.
        region: of the bucket.
        profile: of AWS's configuration; it wins over keys in the environment, which are
            taken out of it.
        anonymous: sign no request.

    Raises:
        ConfigError: the endpoint is no such URL.
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
    """Let the next request read the environment again."""
    global _client
    with _lock:
        if _client is not None:
            _client.close()
        _client = None
        os.environ.pop(s3_retries.REACHED, None)


def environment() -> dict[str, str]:
    """The variables that let another process, on another machine too, use the same place.

    Never a key: what runs elsewhere shows its environment in logs and dashboards. Machines
    of a cluster have a role or a profile of their own.
    """
    return {name: os.environ[name] for name in _PLACE if name in os.environ}


def checked_endpoint(endpoint: str) -> str:
    """The endpoint, if it is a URL that names a server and no more.

    Raises:
        ConfigError: it is not, or it holds a password.
    """
    parts = urlsplit(endpoint)
    shown = endpoint.rpartition("@")[2].partition("?")[0]
    if "@" in endpoint:
        raise ConfigError(
            f"the S3 endpoint (…@{shown}) must not hold a password; give keys by a profile or "
            "the environment."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigError(f"the S3 endpoint must be http://HOST or https://HOST, got {shown}.")
    return endpoint.rstrip("/")


def client() -> "S3Client":
    """The client of boto3, made once in a process; it may be used by many threads.

    Raises:
        OSError: no client can be made of the settings (an unknown profile, say).
        ConfigError: the endpoint in the environment is no URL.
    """
    global _client
    with _lock:
        if _client is None:
            try:
                _client = _new_client()
            except (BotoCoreError, ValueError) as error:
                raise s3_errors.translated(error) from error
        return _client


def read(path: str, *, first: int | None = None) -> bytes:
    """The object `bucket/key`, whole or not at all; or its `first` bytes.

    Raises:
        FileNotFoundError, PermissionError, OSError: with the reason in words.
    """
    bucket, _, key = path.partition("/")
    more: Any = {} if first is None else {"Range": f"bytes=0-{first - 1}"}

    def ask() -> bytes:
        try:
            answer = client().get_object(Bucket=bucket, Key=key, **more)
        except ClientError as error:
            if first is not None and s3_errors.status(error) == 416:
                return b""  # an empty object has no first byte
            raise
        return _body(answer)

    return _asked(ask)


def write(path: str, data: bytes) -> None:
    """Put the object `bucket/key`, whole or not at all."""
    bucket, _, key = path.partition("/")
    # a stream goes out in pieces with a time limit each; bytes would have one for all
    _asked(lambda: client().put_object(Bucket=bucket, Key=key, Body=io.BytesIO(data)))


def write_file(path: str, file: Path) -> None:
    """Put a file of any size as the object `bucket/key`, in parts; whole or not at all."""
    from boto3.s3.transfer import TransferConfig

    bucket, _, key = path.partition("/")
    # S3 takes 10,000 parts
    in_turn = TransferConfig(multipart_chunksize=_PART_BYTES, use_threads=False)

    def ask() -> None:
        # opened anew each time: boto3 closes what it has sent
        with file.open("rb") as data:
            client().upload_fileobj(data, bucket, key, Config=in_turn)

    _asked(ask)


def is_object(path: str) -> bool:
    """Whether there is an object `bucket/key`."""
    bucket, _, key = path.partition("/")
    if not key:
        return False
    try:
        _asked(lambda: client().head_object(Bucket=bucket, Key=key))
    except FileNotFoundError:
        return False
    return True


def page(
    path: str, *, after: str | None = None, delimiter: str = "", size: int = 1000
) -> dict[str, Any]:
    """One answer of ListObjectsV2 about what is under `bucket/prefix/`.

    Args:
        path: `bucket` or `bucket/prefix`.
        after: NextContinuationToken of the page before.
        delimiter: `/` lists what is right there, and the prefixes below.
        size: keys and prefixes at most.
    """
    bucket, _, prefix = path.partition("/")
    more: Any = {} if after is None else {"ContinuationToken": after}
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    answer: Any = _asked(
        lambda: client().list_objects_v2(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=size, **more
        )
    )
    # some tools put an empty object where a folder should show
    found = [item for item in answer.get("Contents", []) if not item["Key"].endswith("/")]
    return {**answer, "Contents": found}


def pages(path: str, *, delimiter: str = "", size: int = 1000) -> Iterator[dict[str, Any]]:
    """All answers of ListObjectsV2 about what is under `bucket/prefix/`, sorted by key."""
    after = None
    while True:
        answer = page(path, after=after, delimiter=delimiter, size=size)
        yield answer
        after = answer.get("NextContinuationToken")
        if not answer.get("IsTruncated") or after is None:
            return


def delete(path: str, *, one_key: bool) -> None:
    """Delete the object `bucket/key`, or all objects under `bucket/prefix/`."""
    bucket, _, key = path.partition("/")
    keys = [key]
    if not one_key:
        keys = [item["Key"] for answer in pages(path) for item in answer["Contents"]]
    for name in keys:
        _asked(lambda name=name: client().delete_object(Bucket=bucket, Key=name))  # type: ignore[misc]


def reason(error: BaseException | None) -> str | None:
    """Why, in words, if `error` came from storage; None if it did not."""
    if not isinstance(error, OSError):
        return None
    return error.strerror or str(error).splitlines()[0].rstrip(".")


def _asked(ask: Callable[[], T]) -> T:
    try:
        return s3_retries.patiently(ask)
    except (BotoCoreError, ClientError, ResponseParserError, s3_retries.SlowBodyError) as error:
        raise s3_errors.translated(error) from error


def _body(answer: Any) -> bytes:
    """All bytes of a body: no fewer than announced, and in no more time than is fair."""
    wanted, body = answer["ContentLength"], answer["Body"]
    latest = monotonic() + _BODY_S + wanted / _SLOWEST_BYTES_PER_S
    pieces = []
    with body:
        for piece in body.iter_chunks(_CHUNK_BYTES):
            pieces.append(piece)
            if monotonic() > latest:
                raise s3_retries.SlowBodyError("the body comes too slowly")
    data = b"".join(pieces)
    if len(data) != wanted:
        raise IncompleteReadError(actual_bytes=len(data), expected_bytes=wanted)
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
        # of each connection and each piece of an answer; botocore's own 60 s look like a hang
        connect_timeout=5,
        read_timeout=20,
        max_pool_connections=_MAX_CONNECTIONS,
        # see `retries.patiently`
        retries={"mode": "standard", "total_max_attempts": 1},
        signature_version=UNSIGNED if os.environ.get(ANONYMOUS) == "1" else None,
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # a session of our own: boto3's common one keeps the first credentials it finds
    session = get_session()
    # botocore's takes most of the time of a listing: a million keys, a million times
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    made = boto3.Session(botocore_session=session, region_name=region)
    return made.client("s3", endpoint_url=endpoint, config=settings)


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(text)
