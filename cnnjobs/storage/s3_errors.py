"""Exceptions of S3 and boto3, as those that local files raise, in a user's words."""

import re
from typing import Any

from botocore.exceptions import (
    ChecksumError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ParamValidationError,
    ResponseStreamingError,
)

from cnnjobs.storage.s3_retries import SlowBodyError, unparsable

#: What users without permission see.
DENIED = "S3 denies access with these credentials"

#: What a listing is that ends before its end.
INCOMPLETE = "the server says that the listing goes on, but not where; it does not list as S3 does"

#: S3's error codes (and boto3's own phrases) in a user's words.
_REASONS = {
    "InvalidObjectState": (
        "the object is archived (in GLACIER or DEEP_ARCHIVE, for example) and must be restored "
        "before it can be read"
    ),
    "NoSuchBucket": "the bucket does not exist",
    "InvalidAccessKeyId": "S3 does not know this access key",
    "SignatureDoesNotMatch": "S3 refuses the secret key",
    "ExpiredToken": "the S3 credentials have expired",
    "AccessDenied": DENIED,
    "(403)": DENIED,
    "AuthorizationHeaderMalformed": "the bucket is in another region; set --s3-region",
    "PermanentRedirect": "the bucket is in another region; set --s3-region",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SlowDown": "S3 still answers 503 SlowDown after several attempts",
    "Unable to locate credentials": (
        "no S3 credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or give --s3-anonymous for a public bucket"
    ),
    "Could not connect to the endpoint": "the S3 endpoint does not answer",
    "timeout on endpoint": "the S3 endpoint does not answer",
}


#: Answers about the account, the bucket or the server, whichever object was asked for.
_OUTAGE_CODES = (
    *("NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity", "AuthFailure"),
    *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
    *("AccountProblem", "AllAccessDisabled", "NotSignedUp"),
    *("SlowDown", "ServiceUnavailable", "Throttling"),
)
_OUTAGE_STATUSES = (401, 407, 429, 502, 503, 504)

#: Failures of boto3 that may be one object's; all others are outages.
_OF_OBJECT = (
    ChecksumError,
    FlexibleChecksumError,
    IncompleteReadError,
    ParamValidationError,
    ResponseStreamingError,
    SlowBodyError,
)


class OutageError(OSError):
    """S3 cannot be used at all, or not as this user; no object is to blame."""


def translated(error: Exception) -> OSError:
    """The same error as the OSError that a local file would raise."""
    kind = OutageError if _is_outage(error) else OSError
    text = str(error)
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        text = f"{text} ({status(error)})"
        if code in ("NoSuchKey", "404"):
            return FileNotFoundError("the object does not exist")
        if code in ("AccessDenied", "403"):
            return PermissionError(DENIED)
    for sign, words in _REASONS.items():
        if sign.casefold() in text.casefold():
            return kind(words)
    return kind(_without_secrets(" ".join(text.split()).rstrip(".")))


def _is_outage(error: Exception) -> bool:
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        return code in _OUTAGE_CODES or status(error) in _OUTAGE_STATUSES
    return not isinstance(error, (*_OF_OBJECT, unparsable()))


def status(error: Exception) -> int | None:
    """The HTTP status of a response from S3; None if it is not a response."""
    if not isinstance(error, ClientError):
        return None
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def refuse_other_servers(http_response: Any, model: Any, **_: Any) -> None:
    """Raise OSError for a response that no S3 server sends: a web page, or 200 without a listing.

    botocore would take it for a success, an empty bucket or a passing fault. Called by botocore
    after each response.
    """
    # botocore makes a 500 of a 200 whose body is not XML
    status, headers = http_response.raw.status, http_response.headers
    kind = headers.get("Content-Type", "")
    is_page = kind.lower().startswith("text/html")
    if model.name != "ListObjectsV2":
        is_other = status < 300 and is_page and "ETag" not in headers
    elif status < 300:
        body = http_response.content
        if not body.strip():
            raise unparsable()("the listing is empty")
        is_other = b"ListBucketResult" not in body and b"<Error" not in body
    else:
        is_other = is_page and status in (400, 401, 403, 404, 405)
    if is_other:
        raise OSError(
            f"the endpoint is not an S3 server (it answers {status} with {kind or 'something else'}"
            "); check --s3-endpoint"
        )


def _without_secrets(text: str) -> str:
    """The text without passwords in URLs and without signatures."""
    text = re.sub(r"//[^/@\s]+@", "//", text)
    return re.sub(r"(?i)((?:x-amz-|signature|awsaccesskeyid)[\w-]*=)[^&\s\"']+", r"\1…", text)
