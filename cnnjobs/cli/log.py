"""Where the events of a job are logged: to a file, to standard error, or nowhere."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnjobs import progress
from cnnjobs.config.printable import printable
from cnnjobs.errors import CnnjobsError, StorageError

#: That of the whole package; each module logs to one below it.
_PACKAGE = logging.getLogger("cnnjobs")

#: Loggers whose warnings are about the data.
_OF_DATA = ("cnnjobs.data.", "cnnjobs.training.train")

#: What every line begins with.
_TIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@contextmanager
def logging_to(file: str | None, *, verbose: bool, quiet: bool) -> Iterator[None]:
    """Log what happens in the block, and how it ended.

    Args:
        file: is appended to.
        verbose: log to standard error, too.
        quiet: without `verbose`, standard error that is not a terminal gets the lines on progress.

    Raises:
        StorageError: the file cannot be written.
    """
    # without any handler, Python itself would print errors on standard error
    handlers: list[logging.Handler] = [logging.NullHandler()]
    if file is not None:
        handlers.append(_file_handler(file))
    if verbose or not (quiet or sys.stderr.isatty()):
        handlers.append(_stderr_handler(verbose=verbose))
    for handler in handlers:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(message)s"))
    if not verbose:
        handlers.append(_data_handler())
    for handler in handlers:
        _PACKAGE.addHandler(handler)
    level, _PACKAGE.propagate = _PACKAGE.level, False
    _PACKAGE.setLevel(logging.INFO)
    try:
        yield
    except CnnjobsError as error:
        _PACKAGE.error("%s", error)
        raise
    except (KeyboardInterrupt, SystemExit):
        _PACKAGE.warning("stopped by a signal")
        raise
    except Exception:
        _PACKAGE.exception("failed")
        raise
    finally:
        _PACKAGE.setLevel(level)
        _PACKAGE.propagate = True
        for handler in handlers:
            _PACKAGE.removeHandler(handler)
            handler.close()


class _OneLine(logging.Formatter):
    """Escapes what is not printable in a message, such as newlines in the name of a file."""

    def format(self, record: logging.LogRecord) -> str:
        record.msg, record.args = printable(record.getMessage()), ()
        return super().format(record)


def _file_handler(file: str) -> logging.Handler:
    try:
        _check_log(Path(file).expanduser())
        return logging.FileHandler(
            Path(file).expanduser(), encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise StorageError(f"log file {file} cannot be written: {error.strerror}.") from error


def _check_log(file: Path) -> None:
    """Raise StorageError if there is something else than a log."""
    if file.is_file():
        with file.open("rb") as opened:
            head = opened.read(24)
        if head and not _TIME.match(head):
            raise StorageError(f"log file {file} exists and is not a log; choose another name.")


def _data_handler() -> logging.Handler:
    """Warns at once of data left out or unfit for training, however little else is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name.startswith(_OF_DATA))
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine("warning: %(message)s"))
    return handler


def _stderr_handler(*, verbose: bool) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    if not verbose:
        handler.addFilter(logging.Filter(progress.__name__))
    # errors are printed when the command ends
    handler.addFilter(lambda record: record.levelno < logging.ERROR)
    return handler
