"""The digests of a bundle, recomputed whenever it is opened, and its seal: `SHA256SUMS`.

The seal has one line per file, as `sha256sum` writes and checks it, sorted by name. The SHA-256 of
those lines is the digest of the bundle, and that of the lines of the model alone is the digest of
the model: what is added later changes the first and not the second. Nor does the time of the
training: `bundle.json` counts without it there.
"""

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cnnjobs.errors import BundleError
from cnnjobs.storage import filesystem, json_files, s3

SUMS = "SHA256SUMS"

#: Files that make the model what it is; those of the export may be missing.
MODEL_PARTS = (
    *("bundle.json", "images.parquet", "model.keras", "summary.txt"),
    *("openvino/export.json", "openvino/model.bin", "openvino/model.xml"),
)
#: What is added later: results, and the int8 network.
ADDED = (
    *("audit.json", "evaluation.json"),
    *("openvino-int8/export.json", "openvino-int8/model.bin", "openvino-int8/model.xml"),
)

#: Largest file of a bundle: models of X-rays have less than 1 GB.
MAX_BYTES = 4 << 30

#: Files read at once: on S3, each waits for its own answer.
_READERS = 4

#: Stands for a file that does not exist.
_ABSENT = hashlib.sha256(b"").hexdigest()

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)\n?")

Parts = Mapping[str, str]


def model_digest(parts: Parts, description: str) -> str:
    """`sha256:` and 64 hex digits, of everything that scores and what it was trained on.

    Args:
        parts: name and SHA-256 of each file, as `opened` returns them.
        description: what counts in place of that of `bundle.json`: see `timeless`.
    """
    model = {name: parts[name] for name in parts if name in MODEL_PARTS}
    return _digest({**model, "bundle.json": description})


def timeless(description: Mapping[str, Any]) -> str:
    """SHA-256 of the content of `bundle.json` without `created`, as JSON with sorted keys."""
    lasting = {name: value for name, value in description.items() if name != "created"}
    return sha256(json_files.text(lasting, indent=None, sort_keys=True).encode())


def bundle_digest(parts: Parts) -> str:
    """`sha256:` and 64 hex digits, of all files: that of a bundle's `SHA256SUMS`."""
    return _digest(parts)


def opened(uri: str) -> tuple[dict[str, str], bool]:
    """Name and SHA-256 of each file of a bundle, and whether they are sealed.

    Raises:
        BundleError: a file is not the one that was sealed, or cannot be read.
    """
    # a result may be written at this moment: then the second look finds it sealed
    for _ in range(2):
        parts, sealed = _hashes(uri, (*MODEL_PARTS, *ADDED)), _sealed(uri)
        if sealed is None:
            return parts, False
        changed = [
            name
            for name in sorted({*parts, *sealed})
            if parts.get(name, _ABSENT) not in sealed.get(name, {_ABSENT})
        ]
        if not changed:
            return parts, True
    what = "is not the file that was sealed with the bundle"
    if changed[0] not in parts:
        what = "is missing, but was sealed with the bundle"
    raise BundleError(
        f"{uri}/{changed[0]} {what} ({SUMS}); use an unchanged copy of the bundle, or train again."
    )


def seal(uri: str) -> None:
    """Seal the files as they are."""
    _write(uri, _lines(_hashes(uri, (*MODEL_PARTS, *ADDED))))


def add(uri: str, files: Mapping[str, bytes]) -> None:
    """Write files of a bundle in this order, over older ones, and renew the seal if it has one.

    Until they are there, the seal holds for the old ones and the new ones: whoever opens the bundle
    meanwhile, or after this was interrupted, finds one of them.

    Raises:
        StorageError: the bundle cannot be written.
    """
    sealed = _sealed(uri)
    if sealed is not None:
        # the model is not digested again: what changed in it since must not be sealed
        # neither is what an interrupted writing left undecided
        undecided = (name for name, hashes in sealed.items() if len(hashes) > 1)
        names = tuple({*ADDED, *files, *undecided})
        kept = {name: min(hashes) for name, hashes in sealed.items() if name not in names}
        before = _hashes(uri, names)
        new = {name: sha256(data) for name, data in files.items()}
        absent = {name: _ABSENT for name in new if name not in before}
        _write(uri, _lines({**kept, **before}) + _lines(new) + _lines(absent))
    for name, data in files.items():
        filesystem.write_bytes(filesystem.join(uri, name), data)
    if sealed is None:
        return
    now: Parts | None = None
    # another process may have added a file meanwhile
    while (later := _hashes(uri, names)) != now:
        now = later
        _write(uri, _lines({**kept, **now}))


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _digest(parts: Parts) -> str:
    return f"sha256:{sha256(_lines(parts).encode())}"


def _lines(parts: Parts) -> str:
    return "".join(f"{parts[name]}  {name}\n" for name in sorted(parts))


def _write(uri: str, lines: str) -> None:
    filesystem.write_bytes(filesystem.join(uri, SUMS), lines.encode())


def _sealed(uri: str) -> dict[str, set[str]] | None:
    """The SHA-256 that each file may have; None without a seal."""
    try:
        data = filesystem.read_bytes(filesystem.join(uri, SUMS), limit=json_files.MAX_BYTES >> 12)
        lines = data.decode("ascii").splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        lines = [""]
    except OSError as error:
        raise BundleError(f"{uri}/{SUMS} cannot be read: {s3.reason(error)}.") from error
    sealed: dict[str, set[str]] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or match[2] not in (*MODEL_PARTS, *ADDED):
            raise BundleError(f"{uri}/{SUMS} is damaged; use an unchanged copy of the bundle.")
        sealed.setdefault(match[2], set()).add(match[1])
    return sealed


def _hashes(uri: str, names: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of each of these files that exists."""
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda name: _hash(filesystem.join(uri, name)), names)
        return {name: value for name, value in zip(names, found, strict=True) if value is not None}


def _hash(uri: str) -> str | None:
    try:
        limit = json_files.MAX_BYTES if uri.endswith(".json") else MAX_BYTES
        return sha256(filesystem.read_bytes(uri, limit=limit))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BundleError(f"{uri} cannot be read: {s3.reason(error)}.") from error
