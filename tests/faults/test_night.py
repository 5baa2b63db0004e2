"""The night: CNNJOBS_NIGHT_MINUTES says for how long."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.skipif(
    "CNNJOBS_NIGHT_MINUTES" not in os.environ,
    reason="takes minutes: CNNJOBS_NIGHT_MINUTES=10 pytest tests/faults",
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
    assert "each as if undisturbed" in done.stdout
