"""Files that grow by whole lines while others read them."""

import contextlib
import os
from io import FileIO
from pathlib import Path

from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem, s3


def append(uri: str, line: str) -> None:
    """Append a line at once, after cutting off half a line that a killed process left.

    On S3, where nothing can be appended, the whole object is written again.

    Raises:
        StorageError: no permission or no space.
    """
    data = f"{line}\n".encode()
    if filesystem.is_s3(uri):
        with contextlib.suppress(FileNotFoundError):
            data = filesystem.read_file(uri) + data
        filesystem.write_bytes(uri, data)
        return
    try:
        # unbuffered: one system call writes the line
        with Path(uri).open("ab+", buffering=0) as file:
            _cut_off_half_a_line(file)
            file.write(data)
    except OSError as error:
        raise StorageError(f"{uri} cannot be written: {s3.reason(error)}.") from error


def _cut_off_half_a_line(file: FileIO) -> None:
    if not file.tell():
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
