"""CI ends in time on a slow machine."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.timeout(300)
def test_slow_tests_that_would_begin_too_late_are_skipped_and_say_so() -> None:
    chosen = ["-m", "slow", "tests/cli/test_patient_data.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT,
        env={**os.environ, "CNNJOBS_SLOW_UNTIL": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 skipped" in done.stdout
    assert "the time of CNNJOBS_SLOW_UNTIL has passed" in done.stdout
