"""Versions that a run records."""

import pytest

import cnnjobs
from cnnjobs.storage import versions


def test_a_checkout_on_a_machine_without_git_has_the_version_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    assert versions.code_version() == cnnjobs.__version__
