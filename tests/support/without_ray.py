"""Jobs that run in child processes although the tests' Ray is initialized in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cnnjobs.cluster import presence


@contextmanager
def without_ray() -> Iterator[None]:
    """Small jobs without an address find no Ray; starting one takes most of their time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(presence, "is_needed", lambda address: bool(address))
        yield


@pytest.fixture
def alone() -> Iterator[None]:
    """Without Ray for one test."""
    with without_ray():
        yield


@pytest.fixture(scope="module")
def all_alone() -> Iterator[None]:
    """Without Ray for the tests and fixtures of a module."""
    with without_ray():
        yield
