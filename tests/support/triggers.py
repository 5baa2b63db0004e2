"""Files at which processes that score end or hang: a hook of Python strikes as they are opened."""

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT

#: Python runs this file in every process that has its folder on PYTHONPATH. Workers of Ray know
#: themselves by their program; whoever else opens the file is left alone.
_HOOK = """
import os, re, signal, sys, time

def strike(event, arguments):
    if event != "open" or not any("default_worker" in word for word in sys.orig_argv):
        return
    name = os.path.basename(os.fsdecode(arguments[0])) if not isinstance(arguments[0], int) else ""
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    elif "hang" in name:
        time.sleep(1e6)
    elif "freeze" in name:
        # never lets go of Python's lock
        re.match("(a+)+$", "a" * 64 + "b")

sys.addaudithook(strike)
"""


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make jobs started from now on die or hang at files with these words in their names."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
