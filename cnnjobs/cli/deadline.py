"""`--deadline`: a job that takes too long ends by itself, in order, and can be continued."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cnnjobs.errors import ConfigError

#: Also that of `timeout`, the command.
EXIT_CODE = 124

#: Seconds that a job has to end in order, after which its process ends on the spot. What it wrote
#: is whole at any time.
_GRACE_S = 600.0

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_MAX_S = 365 * _UNITS["d"]


def seconds(text: str) -> float:
    """The length of a duration such as `6h`, `90m` or `1h30m`.

    Raises:
        ConfigError: it is none, zero, or more than a year.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not 0 < total <= _MAX_S:
        raise ConfigError(
            f"deadline must be a duration of at most 365d, such as 6h, 90m or 1h30m, got {text}."
        )
    return float(total)


@contextmanager
def ending_after(deadline: str | None) -> Iterator[None]:
    """Raise SystemExit with `EXIT_CODE` in the block when the time has passed."""
    if deadline is None:
        yield
        return
    limit = seconds(deadline)
    # a call into a library that hangs lets no signal through
    hard = threading.Timer(limit + _GRACE_S, os._exit, [EXIT_CODE])
    hard.daemon = True
    with exiting_on(signal.SIGALRM, EXIT_CODE):
        hard.start()
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            hard.cancel()


@contextmanager
def exiting_on(number: signal.Signals, code: int) -> Iterator[None]:
    """Raise SystemExit with `code` in the block when a signal arrives."""
    arrived = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        arrived = True
        sys.exit(code)

    before = signal.signal(number, end)
    try:
        yield
    except SystemExit as error:
        # `ray.get` raises another, of code 1
        if arrived and error.code != code:
            raise SystemExit(code) from error
        raise
    finally:
        signal.signal(number, before)
