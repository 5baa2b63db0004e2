"""The lab sheet's chest X-rays from Kaggle: download them, and find their classes in a zip."""

import contextlib
import io
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from cnnjobs.config import constants
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

CLASSES = ("covid", "normal")
KAGGLE_NAME = "alifrahman/covid19-chest-xray-image-dataset"

_BY_HAND = (
    f"download the zip in a browser (https://www.kaggle.com/datasets/{KAGGLE_NAME}) and run: "
    "cnnjobs fetch covid --from archive.zip -o DIR (or unzip it and run: cnnjobs index FOLDER "
    "-o manifest.parquet)"
)

_REFUSED = (
    f"Kaggle refuses covid without credentials; put an API token in ~/.kaggle/kaggle.json, or "
    f"{_BY_HAND}"
)


def download() -> str:
    """The folder in kagglehub's cache that holds the data set, downloaded if necessary.

    Raises:
        InputError: no package, no network or no credentials; says how to get the files by hand.
    """
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as error:
        raise InputError(
            "covid is downloaded with kagglehub, which is not installed; "
            f"pip install 'cnnjobs[kaggle]', or {_BY_HAND}"
        ) from error
    try:
        # standard output is reserved for the result
        with contextlib.redirect_stdout(sys.stderr):
            return str(kagglehub.dataset_download(KAGGLE_NAME))
    except (exceptions.CredentialError, exceptions.UnauthenticatedError) as error:
        raise InputError(_REFUSED) from error
    except (exceptions.DataCorruptionError, exceptions.NotFoundError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise InputError(_REFUSED) from error
        kind = type(error).__name__ if status is None else f"HTTP {status}"
        raise InputError(f"covid cannot be downloaded from Kaggle ({kind}); {_BY_HAND}") from error


def list_images(source: str) -> dict[str, str]:
    """The location of each image in a zip or folder, by the name it will have: `covid/a.png`.

    Raises:
        InputError: the zip is damaged, would write outside its folder, or lacks a folder that
            contains both classes.
    """
    source = filesystem.normalize(source)
    if not filesystem.exists(source):
        raise InputError(f"{source} does not exist; {_BY_HAND}")
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for member in _members(source):
        parts = [part for part in member.replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InputError(
                f"{source} has an entry {member} that lies outside it; nothing was unpacked."
            )
        if any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        if not parts[-1].lower().endswith(constants.IMAGE_SUFFIXES):
            continue
        for depth, part in enumerate(parts[:-1]):
            if part.lower() in CLASSES:
                above = "/".join(parts[:depth])
                found[above]["/".join([part.lower(), *parts[depth + 1 :]])] = member
                break
    whole = [
        above
        for above, images in sorted(found.items())
        if {name.partition("/")[0] for name in images} == set(CLASSES)
    ]
    if len(whole) != 1:
        folders = f"{len(whole)} such folders: {', '.join(whole)}" if whole else "none"
        raise InputError(
            f"{source} must contain one folder with {' and '.join(CLASSES)} and images in both, "
            f"found {folders}; or index its folders directly: cnnjobs index FOLDER."
        )
    return dict(sorted(found[whole[0]].items()))


def contents(source: str, images: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image found by `list_images`."""
    source = filesystem.normalize(source)
    if not filesystem.is_file(source):
        for name, member in images.items():
            yield name, filesystem.read_file(filesystem.join(source, member))
        return
    with _zip(source) as file:
        for name, member in images.items():
            try:
                data = file.read(member)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                raise InputError(
                    f"{source} is damaged or encrypted at {member}; download it again."
                ) from error
            yield name, data


def _members(source: str) -> Iterator[str]:
    if not filesystem.is_file(source):
        yield from (
            filesystem.relative(file.path, source) for file in filesystem.list_files(source)
        )
        return
    with _zip(source) as file:
        yield from (info.filename for info in file.infolist() if not info.is_dir())


@contextlib.contextmanager
def _zip(source: str) -> Iterator[zipfile.ZipFile]:
    try:
        file = zipfile.ZipFile(io.BytesIO(filesystem.read_file(source)))
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{source} is not a complete zip file; give the zip, or the folder it was unpacked to."
        ) from error
    with file:
        yield file
