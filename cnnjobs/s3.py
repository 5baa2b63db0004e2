"""S3 as the storage wants it: clients, listings with ETags, and its errors in words.

Credentials come from AWS's own chain (environment, profile, instance role), the endpoint from
AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
"""

import functools
import os
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from pyarrow import fs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: What S3 says to those who may not.
DENIED = "S3 denies access with these credentials"

#: S3's error codes (and boto3's own words) in a user's words.
_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "S3 does not know this access key",
    "SignatureDoesNotMatch": "S3 refuses the secret key",
    "ExpiredToken": "the S3 credentials have expired",
    "AccessDenied": DENIED,
    "Unable to locate credentials": (
        "no S3 credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ),
    "Could not connect to the endpoint": "the S3 endpoint does not answer",
    "timeout on endpoint": "the S3 endpoint does not answer",
    "NetworkConnection": "the S3 endpoint does not answer",
}


@functools.cache
def client() -> "S3Client":
    """The client of boto3, made once in a process."""
    import boto3
    from botocore.config import Config

    # boto3's own 60 s, tried five times, look like a hang
    patience = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
    return boto3.client("s3", endpoint_url=_endpoint(), config=patience)


@functools.cache
def filesystem() -> fs.S3FileSystem:
    """The filesystem of pyarrow, made once in a process."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(endpoint_override=_endpoint(), region=region)


def list_objects(path: str) -> Iterator[dict[str, Any]]:
    """Path, size, time and ETag of every object under `bucket/prefix/`, sorted by key."""
    bucket, _, prefix = path.partition("/")
    if prefix:
        prefix += "/"
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", []):
            # some tools put an empty object where a folder should show
            if item["Key"].endswith("/"):
                continue
            yield {
                "path": f"s3://{bucket}/{item['Key']}",
                "size_bytes": item["Size"],
                "modified": item["LastModified"].astimezone(UTC),
                "etag": item["ETag"].strip('"'),
            }


def delete(path: str, *, one_key: bool) -> None:
    """Delete the object `bucket/key`, or all objects under `bucket/prefix/`.

    Not by pyarrow, which puts an empty object in place of the folder that it leaves.
    """
    bucket, _, key = path.partition("/")
    keys = (
        [key]
        if one_key
        else [item["path"].removeprefix(f"s3://{bucket}/") for item in list_objects(path)]
    )
    for name in keys:
        client().delete_object(Bucket=bucket, Key=name)


def reason(error: BaseException | None) -> str | None:
    """Why, in words, if `error` came from storage; None if it did not."""
    if error is None:
        return None
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    # boto3 writes NoSuchBucket, pyarrow NO_SUCH_BUCKET
    letters = text.replace("_", "").casefold()
    for sign, words in _REASONS.items():
        if sign.casefold() in letters:
            return words
    if isinstance(error, OSError):
        return text.splitlines()[0].rstrip(".")
    # boto3 raises ValueError for an endpoint that is no URL
    if type(error).__module__.startswith("botocore") or text.startswith("Invalid endpoint"):
        return " ".join(text.split()).rstrip(".")
    return None


def _endpoint() -> str | None:
    """Where S3 is, if not at AWS; makes the clients' checksums fit it."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        # servers other than AWS may answer 411 to the checksum trailers of new clients
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return endpoint
