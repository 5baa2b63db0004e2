"""The runs that an older commit has left, where it left them."""

import fcntl
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.old_runs import make

ARCHIVE = Path(__file__).parent / "38bb914.tar.gz"


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh copy of everything that `make` packed, as the working directory.

    Runs record absolute paths, so there is one place for it on a machine: others who test
    at the same time wait.
    """
    root = make.ROOT
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(root, ignore_errors=True)
        with tarfile.open(ARCHIVE) as tar:
            tar.extractall(root, filter="data")
        monkeypatch.chdir(root)
        yield root
        monkeypatch.undo()
        shutil.rmtree(root)
