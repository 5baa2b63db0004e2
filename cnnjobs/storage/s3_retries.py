"""Retries of S3 requests that fail temporarily: when, how often, and how many there were."""

import functools
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

T = TypeVar("T")

#: Longest waits before the second to the eighth attempt: with jitter, 24 to 48 s for one object
#: that always fails. A throttling bucket takes several seconds to split its partition; anything
#: longer than a minute is an outage, for which the job can be resumed.
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0)

#: The same until S3 has answered this process once: a wrong address should be reported soon.
FIRST_WAITS_S = (0.5,)

#: Set in the environment by the first response, so that local Ray workers inherit it.
REACHED = "CNNJOBS_S3_REACHED"

_PASSING_STATUS = (429, 500, 502, 503, 504)
_PASSING_CODES = (
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
)
_PASSING_ERRORS = (
    NoConnectionError,
    HTTPClientError,  # resets, timeouts
    IncompleteReadError,
    ChecksumError,
    FlexibleChecksumError,
)

_lock = threading.Lock()
_num_retries = 0


class SlowBodyError(Exception):
    """A body arrives so slowly that requesting it again is faster."""


@functools.cache
def unparsable() -> type[Exception]:
    """The error for an answer that is no XML; importing it takes 0.1 s, and only S3 needs it."""
    from botocore.parsers import ResponseParserError

    return ResponseParserError


def failures() -> tuple[type[Exception], ...]:
    """What a request raises that fails."""
    return BotoCoreError, ClientError, unparsable(), SlowBodyError


def num_retries() -> int:
    """How many requests this process has retried so far."""
    return _num_retries


def patiently(ask: Callable[[], T]) -> T:
    """Return the result of `ask`, which makes one attempt; retry temporary failures.

    With exponential back-off and jitter, here and not in botocore: its retries end where a body
    begins (a truncated one would not be retried), and it does not count them.

    Raises:
        botocore's last error: it is permanent (403, 404, credentials), or did not pass in time.
    """
    attempt = 0
    while True:
        try:
            answer = ask()
        except failures() as error:
            waits = FIRST_WAITS_S if _is_unreached(error) else WAITS_S
            if not is_passing(error) or attempt >= len(waits):
                raise
            _count()
            # at least half of the wait: retries of many threads must not coincide
            time.sleep(random.uniform(0.5, 1) * waits[attempt])  # noqa: S311 - no secret
            attempt += 1
            continue
        if REACHED not in os.environ:
            os.environ[REACHED] = "1"
        return answer


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        return status in _PASSING_STATUS or code in _PASSING_CODES
    return isinstance(error, (*_PASSING_ERRORS, unparsable(), SlowBodyError))


def _is_unreached(error: Exception) -> bool:
    return isinstance(error, NoConnectionError) and REACHED not in os.environ


def _count() -> None:
    global _num_retries
    with _lock:
        _num_retries += 1
