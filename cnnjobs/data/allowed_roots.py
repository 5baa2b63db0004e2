"""Keeping the images of manifests and tables from elsewhere below folders that the user names."""

import os
from collections.abc import Sequence

import pyarrow as pa

from cnnjobs.config.printable import printable
from cnnjobs.errors import InputError
from cnnjobs.storage import archives, filesystem


def check(paths: pa.ChunkedArray, roots: Sequence[str]) -> None:
    """Raise InputError if an image is not below one of these folders and prefixes; none allow all.

    Links are followed, on this machine.
    """
    if not roots:
        return
    below = tuple(f"{_place(root).rstrip('/')}/" for root in map(filesystem.normalize, roots))
    outside = [
        path
        for path in paths.to_pylist()
        if not all(_place(each).startswith(below) for each in {path, archives.archive_of(path)})
    ]
    if outside:
        raise InputError(
            f"{len(outside)} of {len(paths)} images are not below {' or '.join(roots)}, for "
            f"example {printable(outside[0])}; leave them out of the data, or name their folder "
            "with --allowed-root."
        )


def _place(path: str) -> str:
    """Where the path leads to."""
    # some servers follow `..` like a file system
    folders = path.split("/")
    return (
        ("/" if ".." in folders else path) if path.startswith("s3://") else os.path.realpath(path)
    )
