"""What is sent to a cluster with a job: this package and the user's small files, but no data."""

import dataclasses
import importlib.metadata
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cnnjobs
from cnnjobs.config import AnyConfig, names
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

#: Settings that name data, which the cluster's machines read or write where it is.
DATA = (
    "allowed_root", "beside", "bundle", "bundles", "data", "hash_paths", "images", "init", "mlflow",
    "output", "plot", "runs", "source", "sources",
)  # fmt: skip

#: Settings that name a small file, which is sent along.
SENT = ("card", "groups", "model", "space", "table", "weights")

#: Settings that name a secret, which is never sent.
SECRETS = ("group_key",)

#: The limit of Ray's job server, which is lower than its documentation says (ray#55877).
MAX_BYTES = 100 << 20

#: How many of the largest files to name when there is too much to send.
_NUM_SHOWN = 3

#: Ray's extras that this project needs, except `default`, without which a cluster takes no jobs.
_RAY_EXTRAS = ("data", "train")

#: The name of a distribution, at the start of a requirement.
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def adapt(
    config: AnyConfig, *, visible: Sequence[str], address: str
) -> tuple[AnyConfig, dict[str, Path]]:
    """The job's settings as the cluster needs them, and the user's files to send along.

    Local paths become absolute because a job has another working directory.

    Args:
        config: of the job.
        visible: folders that the cluster's machines see under the same name; `/` means all.
        address: of the cluster, for messages.

    Raises:
        InputError: the cluster cannot see a path, or a file does not exist.
    """
    changed: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for name in names(type(config)):
        value = getattr(config, name)
        if not value:
            continue
        if name in SENT:
            if isinstance(value, tuple):
                each = enumerate(value)
                changed[name] = tuple(_sent(name, item, files, f"{n}/") for n, item in each)
            else:
                changed[name] = _sent(name, value, files)
        elif name in (*DATA, *SECRETS):
            values = value if isinstance(value, tuple) else (value,)
            paths = tuple(_visible_path(name, each, visible, address) for each in values)
            changed[name] = paths if isinstance(value, tuple) else paths[0]
    return dataclasses.replace(config, **changed), files


def package_files() -> dict[str, Path]:
    """The files of this package by their names in the job's working directory."""
    package = Path(cnnjobs.__file__).parent
    return {
        str(file.relative_to(package.parent)): file
        for file in sorted(package.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def checked_size(files: Mapping[str, Path]) -> int:
    """Total size of the files in bytes.

    Raises:
        InputError: more than Ray accepts.
    """
    sizes = {name: file.stat().st_size for name, file in files.items()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_NUM_SHOWN]
        shown = ", ".join(f"{files[name]} {sizes[name] / (1 << 20):.1f} MiB" for name in largest)
        raise InputError(
            f"the files to send take {total / (1 << 20):.1f} MiB, but Ray accepts at most "
            f"{MAX_BYTES >> 20} MiB; the largest: {shown}."
        )
    return total


def copy_to(folder: Path, files: Mapping[str, Path]) -> None:
    """Copy the files under their names into the folder that is sent."""
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def pins() -> list[str]:
    """This project's dependencies in the versions installed here, without Ray itself.

    The dependencies of Ray's extras are included: a cluster may have only what it takes to accept
    jobs.

    Raises:
        InputError: the project is not installed, so its dependencies are not known.
    """
    try:
        required = importlib.metadata.requires("cnnjobs") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError("--pip needs cnnjobs to be installed here: pip install -e .") from error
    lines = [line for line in required if "extra ==" not in line]
    lines += [
        line
        for line in importlib.metadata.requires("ray") or []
        if any(f'extra == "{extra}"' in line for extra in _RAY_EXTRAS)
    ]
    # each once, in order; a job cannot replace its cluster's Ray
    found = dict.fromkeys(match[0] for line in lines if (match := _NAME.match(line)))
    return [f"{name}=={importlib.metadata.version(name)}" for name in found if name != "ray"]


def _visible_path(name: str, value: str, visible: Sequence[str], address: str) -> str:
    if "://" in value:
        return value
    path = filesystem.normalize(value)
    if any(Path(path).is_relative_to(filesystem.normalize(prefix)) for prefix in visible):
        return path
    raise InputError(
        f"{name} is {path} on this machine, which the cluster at {address} cannot see; give "
        "s3://bucket/name, or --shared-path FOLDER if all its machines have that folder."
    )


def _sent(name: str, value: str, files: dict[str, Path], folder: str = "") -> str:
    """The value with the file's name in the job's working directory."""
    if (name == "weights" and value == "imagenet") or "s3://" in value:
        return value
    if name == "groups" and not Path(value).expanduser().is_file() and "=" in value:
        source, _, rest = value.partition("=")
        return f"{source}={_sent(name, rest, files, folder)}"
    text, colon, function = value.rpartition(":") if name == "model" else (value, "", "")
    if name == "model" and not text.endswith(".py"):
        return value
    file = Path(text).expanduser()
    if not file.is_file():
        raise InputError(f"{name} {text} does not exist; it has to be sent with the job.")
    sent = f"sent/{name}/{folder}{file.name}"
    files[sent] = file
    return f"{sent}{colon}{function}"
