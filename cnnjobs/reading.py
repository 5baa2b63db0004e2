"""One image from its place to its pixels: whatever goes wrong is an ImageError, never more."""

import contextlib
import ctypes
from dataclasses import dataclass

import cv2

from cnnjobs import images, s3, s3_errors, storage
from cnnjobs.errors import ImageError
from cnnjobs.images import Decoded, Preprocessing

#: Parameters of glibc's mallopt (mallopt(3)): what is given back to the system, and what is
#: taken from it apart.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Freed memory that a process keeps: some images on their way through each of its threads.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is taken for an image.

    Attributes:
        keep_damaged: a damaged file that can be decoded all the same, with a warning.
        any_modality: DICOM files that are no projection radiographs.
    """

    keep_damaged: bool = False
    any_modality: bool = False


def settle() -> None:
    """Make this process one that decodes in threads of its own.

    OpenCV gets no others beside them. And the memory of an image stays for the next one: glibc
    would give it back to the system, and a tenth of the time of decoding would go into its return.
    """
    cv2.setNumThreads(1)
    with contextlib.suppress(AttributeError):  # other systems have other allocators
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def read_image(path: str) -> bytes:
    """The bytes of one image; what the storage refuses becomes an ImageError."""
    try:
        return storage.read_bytes(path)
    except FileNotFoundError as error:
        raise ImageError("missing", "the file is gone") from error
    except PermissionError as error:
        raise ImageError("permission", "the file may not be read") from error
    except OSError as error:
        reason = s3.reason(error) or type(error).__name__
        category = "permission" if reason == s3_errors.DENIED else "unreadable"
        raise ImageError(category, reason) from error


def decoded(
    data: bytes, preprocessing: Preprocessing, policy: Policy | None = None
) -> Decoded | ImageError:
    """The pixels of a file's bytes, or why there are none."""
    policy = policy or Policy()
    try:
        return images.decode(
            data,
            preprocessing,
            keep_damaged=policy.keep_damaged,
            any_modality=policy.any_modality,
        )
    except ImageError as error:
        return error
