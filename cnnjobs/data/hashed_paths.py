"""Images under names that say nothing of a patient: links, named by a keyed hash of the path."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from cnnjobs.config.constants import IMAGE_SUFFIXES
from cnnjobs.data.sources import Indexed
from cnnjobs.errors import InputError
from cnnjobs.imaging import dicom
from cnnjobs.storage import archives, filesystem

#: In a manifest's settings.
SETTING = "hash_paths"


def replaced(indexed: Indexed, folder: str, key: bytes) -> Indexed:
    """The manifest with links in `folder` for paths and keyed hashes for groups.

    The same file always has the same link. Only the links know the paths.

    Raises:
        InputError: an image is on S3, or a link cannot be made.
    """
    table, settings = indexed.manifest.table, dict(indexed.manifest.settings)
    paths = table["path"].to_pylist()
    links = {path: f"{folder}/{_name(path, key)}" for path in paths}
    _link(links, folder)
    groups = [group and dicom.hashed(group, key) for group in table["group"].to_pylist()]
    for name, values in (("path", [links[path] for path in paths]), ("group", groups)):
        column = table.column_names.index(name)
        table = table.set_column(column, table.schema.field(name), pa.array(values, pa.string()))
    # folders that were not listed may be named like patients, and suffixes of other files be names
    hashed = {path: f"{folder}/{dicom.hashed(path, key)}" for path in indexed.left_out}
    ignored = {"other files": sum(indexed.ignored.values())}
    unlisted = [hashed[path] for path in settings["unlisted"]]
    settings |= {SETTING: folder, "unlisted": unlisted, "ignored": ignored}
    # in the order of the links: that of the paths would tell of them
    table = table.sort_by("path")
    return dataclasses.replace(
        indexed,
        manifest=dataclasses.replace(indexed.manifest, table=table, settings=settings),
        ignored=ignored,
        left_out={hashed[path]: why for path, why in indexed.left_out.items()},
        warnings=[
            functools.reduce(lambda text, each: text.replace(*each), hashed.items(), warning)
            for warning in indexed.warnings
        ],
        mixed_labels=[[links[path] for path in pair] for pair in indexed.mixed_labels],
    )


def _name(path: str, key: bytes) -> str:
    suffix = Path(path).suffix.lower()
    return dicom.hashed(path, key) + (suffix if suffix in IMAGE_SUFFIXES else "")


def _link(links: Mapping[str, str], folder: str) -> None:
    unfit = [path for path in links if filesystem.is_s3(path) or archives.archive_of(path) != path]
    if unfit or filesystem.is_s3(folder):
        raise InputError(
            "hash_paths needs links and images that are files on local disk, got "
            f"{[*unfit, folder][0]}; rename them instead."
        )
    try:
        # whoever reads the links reads the paths
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, link in links.items():
            if not Path(link).is_symlink():
                Path(link).symlink_to(path)
    except OSError as error:
        raise InputError(f"hash_paths {folder}: no links here: {error.strerror}.") from error
