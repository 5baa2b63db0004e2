"""MNIST's files, as distributed by Keras (mnist.npz) and by its authors (idx), as arrays."""

import contextlib
import gzip
import io
import math
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import InputError
from cnnjobs.models import import_keras
from cnnjobs.storage import filesystem

#: Images and labels of the training set, then of the test set.
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NPZ_FILE = "mnist.npz"

_NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The two official sets: images (N, height, width) uint8, labels (N,) uint8 of 0 to 9."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            for name, array, axes in (("images", images, 3), ("labels", labels, 1)):
                if array.ndim != axes or array.dtype != np.uint8:
                    raise InputError(
                        f"the {part} {name} must be uint8 of {axes} dimensions, "
                        f"got {array.dtype} {array.shape}."
                    )
            if len(images) != len(labels) or len(images) == 0:
                raise InputError(
                    f"the {part} part must have a label for each image, and at least one; "
                    f"got {len(images)} images and {len(labels)} labels."
                )
            if labels.max() > 9:
                raise InputError(f"the {part} labels must be 0 to 9, got {labels.max()}.")


def read(source: str) -> Digits:
    """Read `mnist.npz`, or the four idx files (plain or .gz) of a folder or S3 prefix.

    Args:
        source: the .npz file, the folder, or one of the idx files in it.

    Raises:
        InputError: a file is missing, damaged, or contains something else.
    """
    source = filesystem.normalize(source)
    if filesystem.is_file(source):
        folder, _, name = source.rpartition("/")
        if name.endswith(".npz"):
            return _read_npz(source)
        if _idx_name(name) is None:
            raise InputError(
                f"{source} is neither {NPZ_FILE} nor one of {', '.join(IDX_FILES)} (plain or .gz)."
            )
        source = folder
    if not filesystem.exists(source):
        raise InputError(
            f"{source} does not exist; give {NPZ_FILE}, or a folder with the four idx files."
        )
    names = filesystem.names(source)
    if NPZ_FILE in names:
        return _read_npz(filesystem.join(source, NPZ_FILE))
    found = {_idx_name(name): filesystem.join(source, name) for name in names}
    missing = [name for name in IDX_FILES if name not in found]
    if missing:
        raise InputError(
            f"{source} lacks {', '.join(missing)} (plain or .gz); put all four idx files "
            f"there, or {NPZ_FILE}."
        )
    arrays = [_read_idx(found[name], axes=3 if "images" in name else 1) for name in IDX_FILES]
    return _digits(source, arrays)


def download() -> Digits:
    """Keras' own download, kept in Keras' cache.

    Raises:
        InputError: the download failed; says which file to put where.
    """
    keras = import_keras()
    try:
        # standard output is reserved for the result
        with contextlib.redirect_stdout(sys.stderr):
            (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:
        # Keras raises a bare Exception if the network fails, ValueError for a wrong hash
        if type(error) is not Exception and not isinstance(error, OSError | ValueError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"mnist cannot be downloaded ({reason}); put {NPZ_FILE}, or {IDX_FILES[0]}.gz and "
            "the other three idx files, in a folder and run: cnnjobs fetch mnist --from FOLDER "
            "-o DIR"
        ) from error
    return _digits("Keras' mnist", [x_train, y_train, x_test, y_test])


def _digits(source: str, arrays: list[NDArray[np.uint8]]) -> Digits:
    try:
        return Digits(
            train_images=arrays[0],
            train_labels=arrays[1],
            test_images=arrays[2],
            test_labels=arrays[3],
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _read_npz(uri: str) -> Digits:
    try:
        with np.load(io.BytesIO(filesystem.read_file(uri)), allow_pickle=False) as file:
            arrays = [file[name] for name in _NPZ_ARRAYS]
    except KeyError as error:
        raise InputError(
            f"{uri} is not MNIST as distributed by Keras: it must contain {', '.join(_NPZ_ARRAYS)}."
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{uri} is damaged or not an .npz file; fetch it again.") from error
    return _digits(uri, arrays)


def _read_idx(uri: str, *, axes: int) -> NDArray[np.uint8]:
    """The array in one idx file: magic number 0x0800 + axes, the sizes, the bytes."""
    data = filesystem.read_file(uri)
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{uri} is damaged or truncated; fetch it again.") from error
    magic = struct.pack(">I", 0x0800 + axes)
    if data[:4] != magic:
        begins = f"begins with 0x{data[:4].hex()}" if data else "is empty"
        raise InputError(
            f"{uri} must begin with 0x{magic.hex()} (idx, bytes, {axes} dimensions), it {begins}."
        )
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", data[4:start]) if len(data) >= start else ()
    if not shape or math.prod(shape) != len(data) - start:
        declared = " x ".join(map(str, shape)) or "no"
        raise InputError(
            f"{uri} declares {declared} bytes and holds {max(0, len(data) - start)}; "
            "fetch it again."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _idx_name(name: str) -> str | None:
    """The official name of an idx file; some mirrors write a dot instead of a dash."""
    plain = name.removesuffix(".gz").replace(".idx", "-idx")
    return plain if plain in IDX_FILES else None
