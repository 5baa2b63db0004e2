"""From folders and S3 prefixes to a manifest: list, label, look inside, group, split."""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cnnjobs import duplicates, images, s3, schema, storage, words
from cnnjobs.errors import ImageError, InputError
from cnnjobs.manifest import Manifest, read
from cnnjobs.progress import Progress, silent
from cnnjobs.splits import assign_splits

DEFAULT_SHARES = {words.TRAIN: 0.7, words.VALIDATION: 0.15, words.TEST: 0.15}

#: Files looked into between two reports of progress.
_FILES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """A manifest and what was noticed on the way."""

    manifest: Manifest
    ignored: Mapping[str, int]
    num_exact_copies: int
    num_near_copies: int
    mixed_labels: Sequence[Sequence[str]]


def open_data(
    data: str, *, content: bool = True, split: bool = True, progress: Progress = silent
) -> Manifest:
    """The manifest of DATA: read if it is a `.parquet` file, else made of the folder or prefix.

    Args:
        data: a manifest, a folder or an S3 prefix.
        content: look inside every image of a folder (hashes, size, readable or not).
        split: split a folder's images with the default shares and seed 0.
        progress: told about the files looked into.
    """
    data = storage.normalize(data)
    if data.endswith(".parquet"):
        return read(data)
    if not storage.is_s3(data) and storage.is_file(data):
        raise InputError(f"{data} is one file; give a folder, a manifest.parquet or s3://.")
    shares = DEFAULT_SHARES if split else None
    return index_sources([data], shares=shares, content=content, progress=progress).manifest


def index_sources(
    sources: Sequence[str],
    *,
    labels: bool = True,
    groups: str | None = None,
    group_regex: str | None = None,
    shares: Mapping[str, float] | None,
    content: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Indexed:
    """List the images under folders and S3 prefixes and decide all that is decided once.

    Args:
        sources: folders or prefixes; the folders right below one are the classes.
        labels: False takes no class from the folders.
        groups: CSV with the columns path (relative to its source, or whole) and group.
        group_regex: the group is what its one (group) captures in the file name.
        shares: of the images that get each split; None splits nothing.
        content: read every image for its hashes, size and readability.
        seed: of the split.
        progress: told about the files looked into.

    Raises:
        InputError: nothing to index, a group is missing, or a class has too few groups.
    """
    roots = _name_sources([storage.normalize(source) for source in sources])
    rows, ignored = _list_images(roots, labels)
    looks = _look_inside([row["path"] for row in rows], progress) if content else []
    for row, look in zip(rows, looks, strict=content):
        row.update(look)

    usable = [row for row in rows if row.get("error") is None]
    names = _group_names(usable, groups, group_regex)
    exact = duplicates.equal_pairs([row.get("content_hash") for row in usable])
    near = duplicates.near_pairs([row.get("perceptual_hash") for row in usable])
    for row, group in zip(usable, duplicates.join_groups(names, [*exact, *near]), strict=True):
        row["group"] = group
    labelled = [row for row in usable if row["label"] is not None]
    if shares is not None and labelled:
        label_of, group_of = ([row[key] for row in labelled] for key in ("label", "group"))
        splits = assign_splits(label_of, group_of, shares=shares, seed=seed)
        for row, split in zip(labelled, splits, strict=True):
            row["split"] = split

    settings: dict[str, Any] = {
        "sources": list(roots.values()),
        "groups": groups,
        "group_regex": group_regex,
        "shares": dict(shares) if shares is not None else None,
        "seed": seed,
        "content": content,
    }
    table = pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.MANIFEST.names} for row in rows],
        schema=schema.MANIFEST,
    )
    copies = {other for _, other in exact}
    return Indexed(
        manifest=Manifest(table, settings),
        ignored=ignored,
        num_exact_copies=len(copies),
        num_near_copies=len({other for _, other in near} - copies),
        mixed_labels=sorted(
            {
                (usable[one]["path"], usable[other]["path"])
                for one, other in [*exact, *near]
                if None not in (usable[one]["label"], usable[other]["label"])
                and usable[one]["label"] != usable[other]["label"]
            }
        ),
    )


def _name_sources(roots: Sequence[str]) -> dict[str, str]:
    """A short name for each root: its last part, or the whole where two would be alike."""
    if len(set(roots)) != len(roots):
        raise InputError(f"a source is given twice: {', '.join(roots)}.")
    short = Counter(root.rsplit("/", 1)[-1] for root in roots)
    return {
        name if short[name] == 1 else root: root
        for root in roots
        for name in [root.rsplit("/", 1)[-1]]
    }


def _list_images(
    roots: Mapping[str, str], labels: bool
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Manifest rows as far as a listing tells, and the number of other files by suffix."""
    rows: dict[str, dict[str, Any]] = {}
    ignored: Counter[str] = Counter()
    for source, root in roots.items():
        before, num_ignored = len(rows), ignored.total()
        for file in storage.list_files(root):
            inside = storage.relative(file.path, root)
            suffix = os.path.splitext(inside)[1].lower()  # noqa: PTH122 - a name, not a path here
            if any(part.startswith((".", "__MACOSX")) for part in inside.split("/")):
                # what editors, notebooks and archivers leave is no image, and no class
                ignored["hidden"] += 1
                continue
            if suffix not in words.IMAGE_SUFFIXES:
                ignored[suffix or "no suffix"] += 1
                continue
            if file.path in rows:
                raise InputError(f"{file.path} is in two sources; give sources that don't overlap.")
            folder, _, rest = inside.partition("/")
            rows[file.path] = {
                "path": file.path,
                "label": folder if labels and rest else None,
                "source": source,
                "size_bytes": file.size_bytes,
                "modified": file.modified,
                "etag": file.etag,
                "group": f"{source}/{inside}",
                "inside": inside,
            }
        if len(rows) == before:
            raise InputError(
                f"{root} holds no images ({', '.join(words.IMAGE_SUFFIXES)}); "
                f"{ignored.total() - num_ignored} other files were seen."
            )
    return list(rows.values()), dict(ignored)


def _look_inside(paths: Sequence[str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Hashes, size and readability of each file, in order, read by many threads."""
    remote = any(storage.is_s3(path) for path in paths)
    with ThreadPoolExecutor(32 if remote else os.cpu_count()) as pool:
        for start in range(0, len(paths), _FILES_AT_ONCE):
            progress("index", start, len(paths))
            yield from pool.map(look_inside, paths[start : start + _FILES_AT_ONCE])
    progress("index", len(paths), len(paths))


def look_inside(path: str) -> dict[str, Any]:
    """Content hash, perceptual hash, width and height of one image, and its error if it has one."""
    look: dict[str, Any] = {}
    try:
        data = read_image_bytes(path)
        look["content_hash"] = hashlib.sha256(data).hexdigest()
        gray = images.read_gray(data, max_pixels=images.Preprocessing.max_pixels)
    except ImageError as error:
        return {**look, "error": str(error)}
    bits = images.perceptual_hash(gray)
    look["perceptual_hash"] = bits.hex() if bits is not None else None
    return {**look, "height": gray.shape[0], "width": gray.shape[1]}


def read_image_bytes(path: str) -> bytes:
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


def _group_names(
    rows: Sequence[Mapping[str, Any]], groups: str | None, group_regex: str | None
) -> list[str]:
    """The group of each row before copies are joined; by default each row is its own."""
    if groups is not None:
        known = _read_groups(groups)
        found = [known.get(row["inside"], known.get(row["path"])) for row in rows]
        where = f"{groups} has no group for"
    elif group_regex is not None:
        pattern = re.compile(group_regex)
        matches = [pattern.search(row["inside"].rsplit("/", 1)[-1]) for row in rows]
        found = [match[1] if match else None for match in matches]
        where = f"group_regex {group_regex!r} matches no group in the name of"
    else:
        return [row["group"] for row in rows]
    lacking = [row["inside"] for row, group in zip(rows, found, strict=True) if not group]
    if lacking:
        raise InputError(
            f"{where} {len(lacking)} of {len(rows)} images, {lacking[0]} among them; "
            "every image needs one."
        )
    return [str(group) for group in found]


def _read_groups(file: str) -> dict[str, str]:
    try:
        text = storage.read_bytes(storage.normalize(file)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a CSV file of path,group.") from error
    reader = csv.DictReader(text.splitlines())
    if not {"path", "group"} <= set(reader.fieldnames or ()):
        columns = ", ".join(reader.fieldnames or ()) or "nothing"
        raise InputError(f"{file} must have the columns path and group, it has {columns}.")
    known: dict[str, str] = {}
    for row in reader:
        if known.setdefault(row["path"], row["group"]) != row["group"]:
            raise InputError(f"{file} gives {row['path']} two groups; keep one.")
    return known
