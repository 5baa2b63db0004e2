"""Disks without space."""

from pathlib import Path


def fill(file: Path) -> None:
    """Leave no byte on the file's disk."""
    with file.open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while ballast.write(b"\0" * size):
                    pass
            except OSError:
                continue
