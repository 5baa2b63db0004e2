"""Bytes of a table's file, with errors in one line."""

from typing import Any

import pyarrow as pa

from cnnjobs.config import regular_files
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

#: Largest table that is read as a whole, from S3 or a pipe: one of 2 million rows has 0.2 GB.
MAX_BYTES = 8 << 30


class opened:  # noqa: N801 - reads as a word in `with`
    """A local file or an object as a stream of bytes, inflated if its name ends in .gz."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> Any:
        try:
            if not filesystem.is_s3(self.uri):
                # refuses folders and devices; a pipe is read as a whole
                regular_files.read_first(self.uri, 1)
                self.source = pa.OSFile(self.uri)
            else:
                self.source = self._whole()
        except regular_files.NotAFileError:
            self.source = self._whole()
        except FileNotFoundError as error:
            raise InputError(f"{self.uri} does not exist.") from error
        except OSError as error:
            raise InputError(f"{self.uri} cannot be read: {error.strerror or error}.") from error
        if self.uri.lower().endswith(".gz"):
            return pa.CompressedInputStream(self.source, "gzip")
        return self.source

    def _whole(self) -> Any:
        try:
            data = filesystem.read_file(self.uri, limit=MAX_BYTES)
        except FileNotFoundError as error:
            raise InputError(f"{self.uri} does not exist.") from error
        # in memory of Arrow's own: its threads may free it while Python exits
        copy = pa.BufferOutputStream()
        copy.write(data)
        return pa.BufferReader(copy.getvalue())

    def __exit__(self, *error: object) -> None:
        self.source.close()


class readable:  # noqa: N801 - reads as a word in `with`
    """Turn what pyarrow raises of a damaged file into one line."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError | ValueError | EOFError):
            reason = str(error).partition("\n")[0].rstrip(".")
            raise InputError(f"{self.uri} cannot be read as a table: {reason}.") from error
