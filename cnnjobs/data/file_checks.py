"""What only opening a file reveals: its hashes, its size, whether it can be read."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config import constants
from cnnjobs.data.images import PIECE_ROWS
from cnnjobs.errors import ImageError, StorageError
from cnnjobs.imaging import depth, dicom, formats, memory, perceptual_hash, preprocessing, reading
from cnnjobs.imaging.decoder import read_many
from cnnjobs.progress import Progress
from cnnjobs.storage import filesystem

#: Columns that are only known once a file has been opened.
COLUMNS = pa.schema(
    [
        *(schema.MANIFEST.field(name) for name in schema.MANIFEST.names[-5:]),
        ("patient", pa.string()),
    ]
)

#: As many as `formats.is_dicom` needs.
_DICOM_HEADER_BYTES = 132

#: Files checked between two reports of progress.
_FILES_PER_REPORT = 256


def check_readable(paths: pa.ChunkedArray) -> None:
    """Fail now rather than in an hour if S3 allows listing files but not reading them.

    The first, the middle and the last are tried, because one of them may be bad.
    """
    refusal = None
    for position in (0, len(paths) // 2, -1) if len(paths) else ():
        path = paths[position].as_py()
        if not filesystem.is_s3(path):
            return
        try:
            filesystem.check_readable(path)
        except StorageError as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


def check_files(
    paths: Sequence[str], check: Callable[[str], dict[str, Any]], progress: Progress
) -> pa.Table:
    """Hashes, size and readability of each file, in order, read by many threads."""
    reading.prepare_process()
    remote = any(filesystem.is_s3(path) for path in paths)
    tables: list[pa.Table] = []
    checks: list[dict[str, Any]] = []
    for number, found in enumerate(read_many(paths, check, remote=remote)):
        if number % _FILES_PER_REPORT == 0:
            progress("index", number, len(paths))
        checks.append(found)
        # as Python objects they take much more than as a table
        if len(checks) == PIECE_ROWS:
            tables.append(pa.Table.from_pylist(checks, schema=COLUMNS))
            checks = []
    progress("index", len(paths), len(paths))
    return pa.concat_tables([*tables, pa.Table.from_pylist(checks, schema=COLUMNS)])


@memory.bounded()
def check_file(
    path: str,
    *,
    any_modality: bool = False,
    key: bytes = b"",
    max_bytes: int = constants.MAX_BYTES,
) -> dict[str, Any]:
    """Content hash, perceptual hash, width and height of one image, and its error if it has one.

    Args:
        path: the image.
        any_modality: also accept DICOM files that are not projection radiographs.
        key: for the hash of a DICOM file's patient.
        max_bytes: largest size of the file.

    Raises:
        SourceError: it cannot be read by a fault that is not its own.
    """
    found: dict[str, Any] = {}
    try:
        data = reading.read_image(path, max_bytes)
        found["content_hash"] = hashlib.sha256(data).hexdigest()
        with formats.guarded():
            picture = preprocessing.read(
                data, max_pixels=preprocessing.Preprocessing.max_pixels, any_modality=any_modality
            )
            if formats.recognize(data) == "dicom":
                found["patient"] = dicom.patient_group(data, key)
            bits = perceptual_hash.perceptual_hashes(depth.settled(picture).gray)
    except ImageError as error:
        reading.raise_if_of_source(path, error)
        return {**found, "error": str(error)}
    found["perceptual_hash"] = bits.hex() if bits is not None else None
    return {**found, "height": picture.height, "width": picture.width}


def patients(paths: Sequence[str], key: bytes) -> list[str | None]:
    """The group of each file's patient; None for what is not DICOM or cannot be read."""
    return _of_dicom(paths, lambda data: dicom.patient_group(data, key))


def identifiers(paths: Sequence[str], name: str) -> list[str | None]:
    """A DICOM attribute of each file; None for what is not DICOM or cannot be read."""
    return _of_dicom(paths, lambda data: dicom.identifier(data, name))


def _of_dicom(paths: Sequence[str], read: Callable[[bytes], str | None]) -> list[str | None]:
    @memory.bounded()
    def value(path: str) -> str | None:
        try:
            data = reading.read_image(path)
            with formats.guarded():
                return read(data) if formats.recognize(data) == "dicom" else None
        except ImageError as error:
            reading.raise_if_of_source(path, error)
            return None

    return list(read_many(paths, value, remote=True))


def are_dicom(paths: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """Which of the selected files begin like DICOM; unreadable ones do not."""
    candidates = paths.filter(selected).to_pylist()
    answers = read_many(candidates, _is_dicom, remote=True)
    found = {path for path, yes in zip(candidates, answers, strict=True) if yes}
    return pc.is_in(paths, value_set=pa.array(sorted(found), pa.string()))


def _is_dicom(path: str) -> bool:
    try:
        return formats.is_dicom(filesystem.read_first(path, _DICOM_HEADER_BYTES))
    except OSError:
        return False
