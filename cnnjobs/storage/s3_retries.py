"""What S3 refuses for a moment is asked again: when, how often, and how many times it was."""

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
from botocore.parsers import ResponseParserError

T = TypeVar("T")

#: Longest waits before the second to the eighth attempt: with jitter 24 to 48 s for one object
#: that always fails. A bucket that throttles takes some seconds to split its partition; what
#: lasts longer than a minute is an outage, and the job's own resuming is the answer to it.
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0)

#: The same until S3 has answered this process once: an address may be wrong, say so soon.
FIRST_WAITS_S = (0.5,)

#: Set in the environment by the first answer, so that local Ray workers inherit it.
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
    HTTPClientError,  # resets, time-outs
    IncompleteReadError,
    ResponseParserError,
    ChecksumError,
    FlexibleChecksumError,
)

_lock = threading.Lock()
_num_retries = 0


class SlowBodyError(Exception):
    """A body comes so slowly that asking again is faster."""


def num_retries() -> int:
    """How many requests this process has repeated so far."""
    return _num_retries


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, which is one attempt; asked again where the reason passes.

    With exponential back-off and jitter, here and not in botocore: its retries end where a
    body begins (one cut short would not be asked for again), and it does not count them.

    Raises:
        botocore's last error: what does not pass (403, 404, credentials), or did not in time.
    """
    attempt = 0
    while True:
        try:
            answer = ask()
        except (BotoCoreError, ClientError, ResponseParserError, SlowBodyError) as error:
            waits = FIRST_WAITS_S if _is_unreached(error) else WAITS_S
            if not is_passing(error) or attempt >= len(waits):
                raise
            _count()
            # half of the wait at least: retries of many threads must not come together
            time.sleep(random.uniform(0.5, 1) * waits[attempt])
            attempt += 1
            continue
        if REACHED not in os.environ:
            os.environ[REACHED] = "1"
        return answer


def is_passing(error: Exception) -> bool:
    """Whether the same request may well succeed a moment later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        return status in _PASSING_STATUS or code in _PASSING_CODES
    return isinstance(error, (*_PASSING_ERRORS, SlowBodyError))


def _is_unreached(error: Exception) -> bool:
    return isinstance(error, NoConnectionError) and REACHED not in os.environ


def _count() -> None:
    global _num_retries
    with _lock:
        _num_retries += 1
