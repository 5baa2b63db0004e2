"""Keeping the images of manifests and tables from elsewhere below folders that the user names."""

import itertools
import os
from collections.abc import Iterable, Sequence

import pyarrow as pa

from cnnjobs.config.printable import printable
from cnnjobs.errors import InputError
from cnnjobs.storage import archives, filesystem


def check(pieces: Iterable[pa.ChunkedArray], roots: Sequence[str]) -> None:
    """Raise InputError if an image is not below one of these folders and prefixes; none allow all.

    Links are followed, on this machine.

    Args:
        pieces: the paths of the images, some at a time.
        roots: folders and prefixes.
    """
    if not roots:
        return
    below = tuple(f"{_place(root).rstrip('/')}/" for root in map(filesystem.normalize, roots))
    num_images = num_outside = 0
    example = ""
    for path in itertools.chain.from_iterable(paths.to_pylist() for paths in pieces):
        num_images += 1
        places = {path, archives.archive_of(path)}
        if not all(_place(each).startswith(below) for each in places):
            num_outside += 1
            example = example or path
    if num_outside:
        raise InputError(
            f"{num_outside} of {num_images} images are not below {' or '.join(roots)}, for "
            f"example {printable(example)}; leave them out of the data, or name their folder "
            "with --allowed-root."
        )


def _place(path: str) -> str:
    """Where the path leads to."""
    # some servers follow `..` like a file system
    folders = path.split("/")
    return (
        ("/" if ".." in folders else path) if path.startswith("s3://") else os.path.realpath(path)
    )
