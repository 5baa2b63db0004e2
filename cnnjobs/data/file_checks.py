"""What is seen of a file only when it is opened: its hashes, its size, whether it can be read."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom, formats, preprocessing
from cnnjobs.imaging.decoder import read_many
from cnnjobs.imaging.reading import read_image, settle
from cnnjobs.progress import Progress
from cnnjobs.storage import filesystem

#: What is seen of a file only when it is opened.
COLUMNS = pa.schema(
    [
        *(schema.MANIFEST.field(name) for name in schema.MANIFEST.names[-5:]),
        ("patient", pa.string()),
    ]
)

#: As many as `formats.is_dicom` looks at.
_DICOM_HEADER_BYTES = 132

#: Files checked between two reports of progress.
_FILES_PER_REPORT = 256


def look_inside_all(
    paths: Sequence[str], look: Callable[[str], dict[str, Any]], progress: Progress
) -> pa.Table:
    """Hashes, size and readability of each file, in order, read by many threads."""
    settle()
    remote = any(filesystem.is_s3(path) for path in paths)
    checks: list[dict[str, Any]] = []
    for check in read_many(paths, look, remote=remote):
        if len(checks) % _FILES_PER_REPORT == 0:
            progress("index", len(checks), len(paths))
        checks.append(check)
    progress("index", len(paths), len(paths))
    return pa.Table.from_pylist(checks, schema=COLUMNS)


def look_inside(path: str, *, any_modality: bool = False, key: bytes = b"") -> dict[str, Any]:
    """Content hash, perceptual hash, width and height of one image, and its error if it has one.

    Args:
        path: of the image.
        any_modality: take DICOM files that are no projection radiographs, too.
        key: of the hash of a DICOM file's patient.
    """
    look: dict[str, Any] = {}
    try:
        data = read_image(path)
        look["content_hash"] = hashlib.sha256(data).hexdigest()
        picture = preprocessing.read(
            data, max_pixels=preprocessing.Preprocessing.max_pixels, any_modality=any_modality
        )
        if formats.recognize(data) == "dicom":
            look["patient"] = dicom.patient_group(data, key)
    except ImageError as error:
        return {**look, "error": str(error)}
    bits = preprocessing.perceptual_hash(picture.gray)
    look["perceptual_hash"] = bits.hex() if bits is not None else None
    return {**look, "height": picture.height, "width": picture.width}


def are_dicom(paths: pa.ChunkedArray, wanted: pa.ChunkedArray) -> pa.Array:
    """Which files, of those wanted, begin as DICOM does; what cannot be read does not."""
    asked = paths.filter(wanted).to_pylist()
    answers = read_many(asked, _is_dicom, remote=True)
    found = {path for path, yes in zip(asked, answers, strict=True) if yes}
    return pc.is_in(paths, value_set=pa.array(sorted(found), pa.string()))


def _is_dicom(path: str) -> bool:
    try:
        return formats.is_dicom(filesystem.read_first(path, _DICOM_HEADER_BYTES))
    except OSError:
        return False
