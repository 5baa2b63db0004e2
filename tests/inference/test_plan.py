"""What a scoring job decides before Ray starts."""

import subprocess
import sys

from tests.support.paths import ROOT


def test_planning_imports_neither_ray_nor_tensorflow() -> None:
    code = (
        "import sys, cnnjobs.inference.plan; "
        "print([name for name in ('ray', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
