"""One image from its place to its pixels: whatever goes wrong is an ImageError, never more."""

from dataclasses import dataclass

from cnnjobs import images, s3, storage
from cnnjobs.errors import ImageError
from cnnjobs.images import Decoded, Preprocessing


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is taken for an image.

    Attributes:
        keep_damaged: a damaged file that can be decoded all the same, with a warning.
        any_modality: DICOM files that are no projection radiographs.
    """

    keep_damaged: bool = False
    any_modality: bool = False


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
        category = "permission" if reason == s3.DENIED else "unreadable"
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
    except Exception as error:  # noqa: BLE001 - one odd file must not end a night's work
        return ImageError("damaged", f"{type(error).__name__}: {error}".splitlines()[0])
