"""What goes to a cluster with a job: this package, small files of the user, and no data."""

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

#: Settings that name data: read or written where they are, by all machines of the cluster.
PLACES = (
    "beside", "bundle", "bundles", "data", "images", "mlflow", "output", "plot", "runs", "source",
    "sources",
)  # fmt: skip

#: Settings that name a small file, which goes along.
SENT = ("groups", "model", "space", "weights")

#: Settings that name a secret, which stays here.
SECRETS = ("group_key",)

#: What Ray's job server takes, though its documentation says more (ray#55877).
MAX_BYTES = 100 << 20

#: Names of so many of the largest files are told when there is too much.
_SHOWN = 3

#: Those of Ray that this project needs, but for `default`, without which no job is taken.
_RAY_EXTRAS = ("data", "train")

#: The name of a distribution, at the start of a requirement.
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def placed(
    config: AnyConfig, *, seen: Sequence[str], address: str
) -> tuple[AnyConfig, dict[str, Path]]:
    """The job's settings as the cluster needs them, and the user's files that go along.

    Local paths become absolute: a job has another working directory.

    Args:
        config: of the job.
        seen: folders that the cluster's machines see under the same name; `/` is all.
        address: of the cluster, for messages.

    Raises:
        InputError: a path that the cluster cannot see, or a file that is not there.
    """
    changed: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for name in names(type(config)):
        value = getattr(config, name)
        if not value:
            continue
        if name in SENT:
            changed[name] = _sent(name, value, files)
        elif name in (*PLACES, *SECRETS):
            many = value if isinstance(value, tuple) else (value,)
            moved = tuple(_place(name, each, seen, address) for each in many)
            changed[name] = moved if isinstance(value, tuple) else moved[0]
    return dataclasses.replace(config, **changed), files


def package_files() -> dict[str, Path]:
    """The files of this project that a job needs, by their names in its working directory."""
    root = Path(cnnjobs.__file__).parents[1]
    return {
        str(file.relative_to(root)): file
        for folder in ("cnnjobs", "jobs")
        for file in sorted((root / folder).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def checked_size(files: Mapping[str, Path]) -> int:
    """Bytes of all files.

    Raises:
        InputError: more than Ray takes.
    """
    sizes = {name: file.stat().st_size for name, file in files.items()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_SHOWN]
        told = ", ".join(f"{files[name]} {sizes[name] / (1 << 20):.1f} MiB" for name in largest)
        raise InputError(
            f"what would be sent has {total / (1 << 20):.1f} MiB, and Ray takes "
            f"{MAX_BYTES >> 20} MiB; the largest: {told}."
        )
    return total


def lay_out(files: Mapping[str, Path], folder: Path) -> None:
    """Copy the files under their names into the folder that is sent."""
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def pins() -> list[str]:
    """What this project needs, in the versions that are installed here; without Ray itself.

    What Ray's own extras need is there, too: a cluster may have no more than takes jobs.

    Raises:
        InputError: the project is not installed, so that its needs are not known.
    """
    try:
        needed = importlib.metadata.requires("cnnjobs") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError("--pip needs cnnjobs to be installed here: pip install -e .") from error
    lines = [line for line in needed if "extra ==" not in line]
    lines += [
        line
        for line in importlib.metadata.requires("ray") or []
        if any(f'extra == "{extra}"' in line for extra in _RAY_EXTRAS)
    ]
    # each once, in order; a cluster's own Ray cannot be replaced in a job
    named = dict.fromkeys(match[0] for line in lines if (match := _NAME.match(line)))
    return [f"{name}=={importlib.metadata.version(name)}" for name in named if name != "ray"]


def _place(name: str, value: str, seen: Sequence[str], address: str) -> str:
    if "://" in value:
        return value
    path = filesystem.normalize(value)
    if any(Path(path).is_relative_to(filesystem.normalize(prefix)) for prefix in seen):
        return path
    raise InputError(
        f"{name} is {path} on this machine, which the cluster at {address} does not see; give "
        "s3://bucket/name, or --shared-path FOLDER if all its machines have that folder."
    )


def _sent(name: str, value: str, files: dict[str, Path]) -> str:
    """The value with the file's name where the job will find it."""
    if name == "weights" and value == "imagenet":
        return value
    text, colon, function = value.rpartition(":") if name == "model" else (value, "", "")
    if name == "model" and not text.endswith(".py"):
        return value
    file = Path(text).expanduser()
    if not file.is_file():
        raise InputError(f"{name} {text} does not exist; it would be sent with the job.")
    sent = f"sent/{name}/{file.name}"
    files[sent] = file
    return f"{sent}{colon}{function}"
