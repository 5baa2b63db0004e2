"""One image from its URI to its pixels: whatever goes wrong is an ImageError."""

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import cv2

from cnnjobs.config import constants
from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.errors import ImageError, SourceError
from cnnjobs.imaging import memory
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing, decode
from cnnjobs.storage import archives, filesystem, local_listing, outages, s3, s3_errors

#: Parameters of glibc's mallopt (mallopt(3)): when free memory is returned to the system, and from
#: which size on memory is requested separately.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Freed memory that a process keeps: several images for each of its threads.
_KEPT_BYTES = 256 << 20

#: A file of so many bytes is read whatever its size was said to be.
_LITTLE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which images are accepted.

    Attributes:
        keep_damaged: damaged files that can still be decoded, with a warning.
        any_modality: DICOM files that are not projection radiographs.
        max_bytes: files of at most so many bytes.
    """

    keep_damaged: bool = False
    any_modality: bool = False
    max_bytes: int = constants.MAX_BYTES


def prepare_process() -> None:
    """Prepare this process for decoding in its own threads.

    OpenCV gets no threads of its own. And glibc keeps the memory of an image for the next one:
    returning it to the system would take a tenth of the decoding time.
    """
    cv2.setNumThreads(1)
    with contextlib.suppress(AttributeError):  # other systems have other allocators
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def read_image(
    path: str,
    max_bytes: int = constants.MAX_BYTES,
    *,
    expected: int = memory.SMALL,
    make_room: Callable[[int], None] = lambda size: memory.take(memory.TOTAL),
) -> bytes:
    """The bytes of one image; whatever prevents reading them becomes an ImageError.

    Args:
        path: the image.
        max_bytes: largest size of the file.
        expected: number of bytes for which there is room.
        make_room: called with the file's size if it is larger; by default the file waits until no
            other large one is held by this process (see `memory.bounded`).
    """
    limit = min(max(expected, _LITTLE), max_bytes)
    try:
        try:
            return filesystem.read_bytes(path, limit=limit)
        except TooLargeError as error:
            if error.size > max_bytes:
                reason = f"{error.size} bytes, but max_bytes allows {max_bytes}"
                raise ImageError("too large", reason) from error
            make_room(error.size)
            return filesystem.read_bytes(path, limit=error.size)
    except FileNotFoundError as error:
        if local_listing.is_escaped(path):
            raise ImageError("unreadable", "its name is not UTF-8; rename the file") from error
        raise ImageError("missing", "the file is gone") from error
    except PermissionError as error:
        raise ImageError("permission", "reading the file is not permitted") from error
    except NotAFileError as error:
        raise ImageError("not an image", str(error)) from error
    except ValueError as error:  # a zero byte
        raise ImageError("missing", "no file can have this name") from error
    except TooLargeError as error:
        raise ImageError("unreadable", "the file grows while it is read") from error
    except archives.DamagedError as error:
        is_known = isinstance(error, archives.UnsupportedError)
        raise ImageError("unsupported" if is_known else "damaged", str(error)) from error
    except OSError as error:
        reason = s3.reason(error) or "reading the file failed"
        category = "permission" if reason == s3_errors.DENIED else "unreadable"
        is_outage = outages.is_outage(error)
        raise ImageError(category, reason, is_outage=is_outage) from error
    except MemoryError as error:
        raise ImageError("too large", "reading it takes more memory than there is") from error


def raise_if_of_source(path: str, error: ImageError) -> None:
    """Raise SourceError if an image cannot be read by a fault that is not its own."""
    if (failure := of_source(path, error)) is not None:
        raise failure from error


def of_source(path: str, error: ImageError) -> SourceError | None:
    """What ends a job whose images cannot be read by a fault that is not theirs; else None."""
    if not error.is_outage:
        return None
    return SourceError(
        f"{path} cannot be read ({error}); restore access to the images, then start again."
    )


def decoded(
    data: bytes, preprocessing: Preprocessing, policy: Policy | None = None
) -> Decoded | ImageError:
    """The pixels of a file, or the error that explains why there are none."""
    policy = policy or Policy()
    try:
        return decode(
            data,
            preprocessing,
            keep_damaged=policy.keep_damaged,
            any_modality=policy.any_modality,
        )
    except ImageError as error:
        return error


@memory.bounded()
def load(
    path: str, preprocessing: Preprocessing, policy: Policy | None = None
) -> Decoded | ImageError:
    """Read and decode one image; the error that explains why it has no pixels is returned."""
    policy = policy or Policy()
    try:
        data = read_image(path, policy.max_bytes)
    except ImageError as error:
        return error
    return decoded(data, preprocessing, policy)
