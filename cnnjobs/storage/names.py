"""One kind of name for local disk and S3: an absolute path or `s3://bucket/key`."""

import os
from pathlib import Path

from cnnjobs.config.printable import printable
from cnnjobs.errors import StorageError
from cnnjobs.storage import credentials, s3_names


def normalize(uri: str | Path) -> str:
    """The one name of a location: an absolute local path, or `s3://bucket/key` without a slash.

    Links in a local path are resolved, except that a file keeps the name of its link.
    """
    text = str(uri)
    credentials.refuse_in_name(text)
    if "\0" in text:
        raise StorageError(f"{printable(text)} contains a zero byte; no name does.")
    name = _s3_name(text) if is_s3(text) else _local_name(text)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"{printable(name)} is a name that is not UTF-8; rename it.") from error
    return name


def is_s3(uri: str) -> bool:
    """Whether the name is on S3."""
    return uri.startswith("s3://")


def join(uri: str, *names: str) -> str:
    """The name of something under a folder or prefix."""
    return "/".join([uri.rstrip("/"), *names])


def relative(path: str, root: str) -> str:
    """`path` relative to the folder or prefix `root` under which it was listed."""
    return path.removeprefix(root.rstrip("/") + "/")


def _s3_name(text: str) -> str:
    path = text.removeprefix("s3://")
    if not path.split("/")[0]:
        raise StorageError(f"{text} names no bucket; write s3://bucket/prefix.")
    if path.startswith("arn:") and not s3_names.is_access_point(path):
        raise StorageError(
            f"{text} is not the ARN of an access point; write s3://bucket/prefix, or "
            "s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix."
        )
    return text.rstrip("/")


def _local_name(text: str) -> str:
    if "://" in text:
        raise StorageError(f"{text} is neither a local path nor s3://bucket/prefix.")
    path = Path(text).expanduser()
    if path.is_symlink() and not path.is_dir():
        return f"{os.path.realpath(path.parent)}/{path.name}"
    return os.path.realpath(path)
