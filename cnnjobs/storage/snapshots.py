"""Files as they are now, to be read piece by piece later."""

import os
import tempfile

import pyarrow as pa

from cnnjobs.config import regular_files
from cnnjobs.storage import s3
from cnnjobs.storage.names import is_s3


def opened(uri: str) -> pa.NativeFile:
    """The file, whose content stays when its name is given to another or is deleted.

    An object on S3 is copied to a temporary file first. Raises OSError like `regular_files.read`.
    """
    if not is_s3(uri):
        regular_files.status(uri)
        return pa.OSFile(os.fsencode(uri))
    with tempfile.NamedTemporaryFile() as file:
        s3.read_into(uri.removeprefix("s3://"), file.file)
        file.flush()
        # stays readable while it is open
        return pa.OSFile(file.name)
