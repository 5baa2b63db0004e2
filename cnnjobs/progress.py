"""How a long job tells how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called from the job's own process, as often as there is something new."""

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        """`done` of `total` (None: not known yet) in the named step of the job."""


def silent(step: str, done: int, total: int | None, note: str = "") -> None:
    """Tell nobody."""
