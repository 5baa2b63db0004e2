import sys

import pytest

from cnnjobs.data import synthetic


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Ten drawings, five per class: barely enough for three splits."""
    folder = tmp_path_factory.mktemp("cli") / "archive"
    synthetic.write_archive(folder, num_images=10, num_broken=0)
    return folder


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """Undo the hook that `main` sets in its process, and fix the terminal's width."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("COLUMNS", "80")
