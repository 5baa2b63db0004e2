"""One image from its URI to its pixels: whatever goes wrong is an ImageError."""

import contextlib
import ctypes
from dataclasses import dataclass

import cv2

from cnnjobs.errors import ImageError
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing, decode
from cnnjobs.storage import filesystem, place_errors, s3, s3_errors

#: Parameters of glibc's mallopt (mallopt(3)): when free memory is returned to the system, and from
#: which size on memory is requested separately.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Freed memory that a process keeps: several images for each of its threads.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which images are accepted.

    Attributes:
        keep_damaged: damaged files that can still be decoded, with a warning.
        any_modality: DICOM files that are not projection radiographs.
    """

    keep_damaged: bool = False
    any_modality: bool = False


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


def read_image(path: str) -> bytes:
    """The bytes of one image; storage errors become an ImageError."""
    try:
        return filesystem.read_bytes(path)
    except FileNotFoundError as error:
        raise ImageError("missing", "the file is gone") from error
    except PermissionError as error:
        raise ImageError("permission", "reading the file is not permitted") from error
    except OSError as error:
        reason = s3.reason(error) or type(error).__name__
        category = "permission" if reason == s3_errors.DENIED else "unreadable"
        of_place = place_errors.is_of_place(error)
        raise ImageError(category, reason, of_place=of_place) from error


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


def load(
    path: str, preprocessing: Preprocessing, policy: Policy | None = None
) -> Decoded | ImageError:
    """Read and decode one image; the error that explains why it has no pixels is returned."""
    try:
        data = read_image(path)
    except ImageError as error:
        return error
    return decoded(data, preprocessing, policy)
