"""The boto3 client of this process: where S3 is, as whom to ask, and who pays."""

import os
import re
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

from cnnjobs.errors import ConfigError
from cnnjobs.storage import s3_errors, s3_retries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: If set to 1, requests are not signed.
ANONYMOUS = "CNNJOBS_S3_ANONYMOUS"

#: If set to 1, every request says that whoever sends it pays for it.
REQUESTER_PAYS = "CNNJOBS_S3_REQUESTER_PAYS"

#: Settings of botocore that servers other than AWS may not support: checksum trailers of requests,
#: which some answer with 411, and checksums of responses, for which some return that of the whole
#: object with a part of it.
_CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")

#: Variables that say where S3 is and as whom to connect, without being secret.
_PLACE = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    *_CHECKSUMS,
    ANONYMOUS,
    REQUESTER_PAYS,
    s3_retries.REACHED,
)
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

#: Connections kept open: more simultaneous requests would each open a new one.
_MAX_CONNECTIONS = 64

_lock = threading.Lock()
_client: "S3Client | None" = None


def use(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    anonymous: bool = False,
    requester_pays: bool = False,
) -> None:
    """Set the S3 server and identity for this process and its children; None changes nothing.

    Args:
        endpoint: `http(s)://HOST[:PORT]` of a server other than AWS.
        region: of the bucket.
        profile: of AWS's configuration; it overrides keys in the environment, which are removed
            from it.
        anonymous: do not sign requests.
        requester_pays: agree to pay for requests, as some buckets demand.

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
    if requester_pays:
        os.environ[REQUESTER_PAYS] = "1"
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


def _new_client() -> "S3Client":
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        endpoint = checked_endpoint(endpoint)
        _set_checksums(endpoint)
    made = _made(endpoint)
    # the endpoint may come from a profile
    if endpoint is None and _set_checksums(made.meta.endpoint_url):
        made.close()
        made = _made(endpoint)
    made.meta.events.register("after-call.s3", s3_errors.refuse_other_servers)
    if os.environ.get(REQUESTER_PAYS) == "1":
        made.meta.events.register("provide-client-params.s3", _agree_to_pay)
    return made


def _made(endpoint: str | None) -> "S3Client":
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import get_session

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


def _set_checksums(endpoint: str) -> bool:
    """Leave out checksums that are not required, unless the server is AWS or they are set."""
    if re.search(r"\.amazonaws\.com(\.cn)?$", urlsplit(endpoint).hostname or ""):
        return False
    unset = [name for name in _CHECKSUMS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "when_required"))
    return bool(unset)


def _agree_to_pay(params: dict[str, Any], model: Any, **_: Any) -> None:
    if "RequestPayer" in model.input_shape.members:
        params["RequestPayer"] = "requester"


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(text)
