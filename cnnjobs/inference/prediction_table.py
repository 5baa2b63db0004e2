"""The prediction table of a finished run: the rows that count, and no others."""

import os
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa

from cnnjobs import schema
from cnnjobs.errors import InputError, StorageError
from cnnjobs.inference import predictions
from cnnjobs.storage import filesystem, run_dir

if TYPE_CHECKING:
    import pandas


@overload
def read_predictions(
    run: str | os.PathLike[str], *, pandas: Literal[False] = False
) -> pa.Table: ...
@overload
def read_predictions(
    run: str | os.PathLike[str], *, pandas: Literal[True]
) -> "pandas.DataFrame": ...
def read_predictions(
    run: str | os.PathLike[str], *, pandas: bool = False
) -> "pa.Table | pandas.DataFrame":
    """Read the predictions of a finished run of `predict`, `evaluate` or `crossval`.

    Returns exactly the rows that count: those of the files that `run.json` names. Other files in
    the folder are ignored. The columns are in docs/files.md; a failed image has an `error` in
    place of a score.

    Args:
        run: the run directory, local or on S3.
        pandas: return a DataFrame in place of an Arrow table.

    Raises:
        InputError: it is not a run, it has no predictions, or it is not finished; or pandas is not
            installed.
        StorageError: a file cannot be read.
    """
    uri = filesystem.normalize(os.fspath(run))
    record = _finished(uri)
    try:
        table = predictions.read_whole(uri, record["files"])
    except FileNotFoundError as error:
        raise StorageError(f"the run in {uri} has lost a file that its run.json names.") from error
    # an update or a resume that began in the meantime replaces files
    if _finished(uri) != record:
        raise InputError(f"the run in {uri} changed while it was read; read it again.")
    return schema.to_pandas(table) if pandas else table


def _finished(uri: str) -> dict[str, Any]:
    """The record of a finished run with predictions."""
    record = run_dir.read_record(uri)
    if record is None:
        raise InputError(f"{uri} is not a run; give the output of predict, evaluate or crossval.")
    if not run_dir.is_finished(uri):
        raise InputError(
            f"the run in {uri} is not finished (status {record['status']}); wait for it, or "
            "continue it with --resume."
        )
    if not record.get("files"):
        raise InputError(
            f"the run in {uri} is of {record['command']}, which writes no predictions; give the "
            "output of predict, evaluate or crossval."
        )
    return record
