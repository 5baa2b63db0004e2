"""`--deadline`: what it accepts, and that it ends a job that hangs."""

import pytest

from cnnjobs.cli.deadline import seconds
from cnnjobs.errors import ConfigError
from tests.support.heads import cnnjobs, python

_HANGS = """
import time
from cnnjobs.cli.deadline import ending_after
with ending_after("0.2s"):
    time.sleep(3600)
"""

#: Where the signal arrives, another exit code is raised in place of its own, as `ray.get` does.
_LOSES_ITS_CODE = """
import sys, time
from cnnjobs.cli.deadline import ending_after
with ending_after("0.2s"):
    try:
        time.sleep(3600)
    except SystemExit:
        sys.exit(1)
"""


@pytest.mark.parametrize(
    ("text", "length"),
    [("6h", 21600), ("90m", 5400), ("1h30m", 5400), ("0.5s", 0.5), ("2d", 172800)],
)
def test_a_duration_is_read(text: str, length: float) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize(
    "text", ["", "6", "h", "0s", "-1h", "6 h", "6h later", "1e3s", "nan", "366d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        seconds(text)
    assert str(refused.value) == (
        f"deadline must be a duration of at most 365d, such as 6h, 90m or 1h30m, got {text}."
    )


@pytest.mark.parametrize("code", [_HANGS, _LOSES_ITS_CODE], ids=["hangs", "loses its code"])
def test_a_job_that_takes_too_long_ends_with_a_code_of_its_own(code: str) -> None:
    assert python(code).returncode == 124


def test_a_wrong_deadline_is_refused_before_the_job_begins() -> None:
    refused = cnnjobs("predict", "bundle", "images", "-o", "out", "--deadline", "tomorrow")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: deadline must be a duration of at most 365d, such as 6h, 90m or 1h30m, got "
        "tomorrow.\n",
    )
