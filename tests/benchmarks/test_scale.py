"""`python -m benchmarks scale` measures the driver on millions of rows."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def test_a_figure_of_another_kind_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "memory.gif"
    command = [sys.executable, "-m", "benchmarks", "scale", "--rows", "10", "--plot", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode != 0
    assert "must end in one of .png, .svg, .pdf" in done.stderr
    assert done.stdout == ""
