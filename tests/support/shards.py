"""Archives of images: tar, zip and Parquet."""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Files = Iterable[tuple[str, bytes]]


def png(seed: int, side: int = 24) -> bytes:
    """A small image of noise, each different."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def write_tar(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)


def write_parquet(path: Path, files: Files, row_group_size: int = 3) -> None:
    """As img2dataset does: names in `key`, files in `jpg`."""
    names, data = zip(*files, strict=True)
    table = pa.table({"key": names, "jpg": pa.array(data, pa.binary()), "width": [1] * len(data)})
    pq.write_table(table, path, row_group_size=row_group_size)


WRITERS = {".tar": write_tar, ".zip": write_zip, ".parquet": write_parquet}
