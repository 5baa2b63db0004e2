"""The night: CNNJOBS_NIGHT_MINUTES says for how long; a start that hangs ends it by itself."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.timeout(0)
@pytest.mark.skipif(
    "CNNJOBS_NIGHT_MINUTES" not in os.environ,
    reason="takes minutes: CNNJOBS_NIGHT_MINUTES=10 pytest -o faulthandler_timeout=0 tests/faults",
)
def test_every_strike_is_survived():
    minutes = os.environ["CNNJOBS_NIGHT_MINUTES"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.night", "--minutes", minutes],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert "each as if undisturbed" in done.stdout
