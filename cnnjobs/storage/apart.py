"""An output must not be one of its job's inputs, nor contain one, nor lie in one."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.storage import filesystem

#: Folders of a manifest's images that are compared as the file system sees them.
_FOLDERS = 10_000

#: Where the mark of a file that we wrote is looked for.
_HEAD_BYTES = 4096


def check(output: str, inputs: Iterable[str | None]) -> None:
    """Raise InputError if the output is, contains or is inside one of the inputs.

    Local names are compared as the file system sees them: through links, `..` and mounts.

    Args:
        output: where a job will write.
        inputs: what it reads; None stands for an input that was not given.
    """
    output = filesystem.normalize(output)
    for given in inputs:
        if given is None:
            continue
        relation = _relation(output, filesystem.normalize(given))
        if relation is not None:
            raise InputError(
                f"the output {output} {relation} the input {given}; choose another output."
            )


def check_images(output: str, pieces: Iterable[pa.ChunkedArray]) -> None:
    """Raise InputError if the output contains one of the images.

    Args:
        output: where a job will write.
        pieces: the paths of the images, some at a time.
    """
    output = filesystem.normalize(output)
    # in their order; not sets, because paths come by folder
    folders: dict[str, None] = {}
    for paths in pieces:
        is_below = pc.starts_with(paths, f"{output}/")
        if pc.any(is_below).as_py():
            _refuse_images(output, paths.filter(is_below)[0].as_py())
        if len(folders) < _FOLDERS and not filesystem.is_s3(output):
            found = pc.unique(pc.replace_substring_regex(paths, "/[^/]*$", "")).to_pylist()
            folders.update(dict.fromkeys(found))
    for folder in list(folders)[:_FOLDERS]:
        if not filesystem.is_s3(folder) and _is_inside(folder, output):
            _refuse_images(output, folder)


def check_file(output: str, inputs: Iterable[str | None], *, mark: bytes, kind: str) -> None:
    """Raise unless a file may be written or replaced: apart from the inputs, and ours.

    Args:
        output: the file.
        inputs: what the job reads.
        mark: bytes near the start of every file that the command writes.
        kind: what such a file is called.

    Raises:
        InputError: the file is, contains or is inside an input.
        RunExistsError: there is another kind of file.
        StorageError: nothing can be written there.
    """
    check(output, inputs)
    if filesystem.exists(output) and (
        not filesystem.is_file(output) or mark not in filesystem.read_first(output, _HEAD_BYTES)
    ):
        raise RunExistsError(f"{output} exists and is not {kind}; choose another name.")
    filesystem.check_writable(output.rpartition("/")[0])


def _refuse_images(output: str, example: str) -> None:
    raise InputError(
        f"the output {output} contains images to be read ({example}); choose another output."
    )


def _relation(output: str, other: str) -> str | None:
    if filesystem.is_s3(output) != filesystem.is_s3(other):
        return None
    inside = _is_inside_key if filesystem.is_s3(output) else _is_inside
    if inside(output, other):
        return "is" if inside(other, output) else "is inside"
    return "contains" if inside(other, output) else None


def _is_inside_key(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/")


def _is_inside(one: str, other: str) -> bool:
    """Whether a local path is another one, or below it; either may not exist."""
    real, wanted = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if real == wanted or wanted in real.parents:
        return True
    identity = _identity(wanted)
    return identity is not None and any(
        _identity(each) == identity for each in (real, *real.parents)
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
