"""Files at which processes that score end or hang: a hook of Python strikes as they are opened."""

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT

#: Python runs this file in every process that has its folder on PYTHONPATH. Only the threads that
#: read what is to be scored are struck.
_HOOK = """
import os, re, signal, sys, threading, time

def strike(event, arguments):
    if event != "open" or not threading.current_thread().name.startswith("read"):
        return
    name = os.path.basename(os.fsdecode(arguments[0]))
    if name.endswith("crash.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif name.endswith("hang.png"):
        time.sleep(1e6)
    elif name.endswith("freeze.png"):
        # never lets go of Python's lock
        re.match("(a+)+$", "a" * 64 + "b")

sys.addaudithook(strike)
"""


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make jobs started from now on end, or hang, at *crash.png, *hang.png and *freeze.png."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
