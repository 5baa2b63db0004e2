"""From folders and S3 prefixes to a manifest: list, label, check files, group, split."""

import functools
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config import constants
from cnnjobs.data import duplicates, file_checks
from cnnjobs.data import groups as belonging
from cnnjobs.data.manifest import Manifest, read
from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import InputError, StorageError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem

DEFAULT_SHARES = {constants.TRAIN: 0.7, constants.VALIDATION: 0.15, constants.TEST: 0.15}


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """A manifest, and what was noticed while making it."""

    manifest: Manifest
    ignored: Mapping[str, int]
    num_exact_copies: int
    num_near_copies: int
    mixed_labels: Sequence[Sequence[str]]


def open_data(
    data: str, *, for_training: bool = True, split: bool = True, progress: Progress = silent
) -> Manifest:
    """The manifest of DATA: read from a `.parquet` file, or made from a folder or prefix.

    Args:
        data: a manifest, a folder or an S3 prefix.
        for_training: open every image of a folder (duplicates, readability) and split them with the
            default shares and seed 0; otherwise they are only listed.
        split: False leaves the images of a folder without a split.
        progress: reports the files checked.
    """
    data = filesystem.normalize(data)
    if data.endswith(".parquet"):
        manifest = read(data)
        _check_readable(manifest.table["path"])
        return manifest
    if not filesystem.is_s3(data) and filesystem.is_file(data):
        raise InputError(f"{data} is one file; give a folder, a manifest.parquet or s3://.")
    shares = DEFAULT_SHARES if for_training and split else None
    return index_sources([data], shares=shares, content=for_training, progress=progress).manifest


def index_sources(
    sources: Sequence[str],
    *,
    labels: bool = True,
    groups: str | None = None,
    group_regex: str | None = None,
    source_regex: str | None = None,
    shares: Mapping[str, float] | None,
    content: bool = True,
    suffixless: bool = True,
    any_modality: bool = False,
    max_bytes: int = constants.MAX_BYTES,
    group_key: bytes | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Indexed:
    """List the images under folders and S3 prefixes and decide everything that is decided once.

    Args:
        sources: folders or prefixes; the folders directly below one are the classes.
        labels: False takes no class from the folders.
        groups: CSV with the columns path (relative to its source, or absolute) and group.
        group_regex: the group is what its one (group) captures in the file name.
        source_regex: the source is what its one (group) captures in the path below its root; None
            names it after the root.
        shares: of the images for each split; None makes no splits.
        content: read every image for its hashes, size and readability.
        suffixless: open files without a suffix, which are images if they begin like DICOM.
        any_modality: also accept DICOM files that are not projection radiographs.
        max_bytes: largest size of an image file.
        group_key: for the hash that names the group of a DICOM file's patient, without `groups` and
            `group_regex`; None names it after the patient's first file.
        seed: of the split.
        progress: reports the files checked.

    Raises:
        InputError: nothing to index, a group is missing, or a class has too few groups.
    """
    roots = _name_sources([filesystem.normalize(source) for source in sources])
    listed, ignored = _list_images(roots, labels=labels, suffixless=suffixless)
    _check_readable(listed["path"])
    check = functools.partial(
        file_checks.check_file,
        any_modality=any_modality,
        key=group_key or secrets.token_bytes(32),
        max_bytes=max_bytes,
    )
    paths = listed["path"].to_pylist()
    checks = file_checks.check_files(paths, check, progress) if content else None
    rows = _with_columns(listed, checks)
    if source_regex is not None:
        column = rows.column_names.index("source")
        rows = rows.set_column(column, "source", belonging.sources(rows, source_regex))
    readable = rows.filter(pc.is_null(rows["error"]))
    exact, near = _copies(readable) if content else ([], [])
    rows = _with_groups(
        rows,
        [*exact, *near],
        groups=groups,
        group_regex=group_regex,
        # without the user's key, the hash of a patient is only valid within this run
        name_by_patient=group_key is not None,
    )
    rows = _with_splits(rows, shares, seed)
    settings: dict[str, Any] = {
        "sources": list(roots.values()),
        "groups": groups,
        "group_regex": group_regex,
        "source_regex": source_regex,
        "shares": dict(shares) if shares is not None else None,
        "seed": seed,
        "content": content,
        "any_modality": any_modality,
        "ignored": dict(ignored),
    }
    copies = {other for _, other in exact}
    return Indexed(
        manifest=Manifest(rows.select(schema.MANIFEST.names).cast(schema.MANIFEST), settings),
        ignored=ignored,
        num_exact_copies=len(copies),
        num_near_copies=len({other for _, other in near} - copies),
        mixed_labels=_mixed_labels(readable, [*exact, *near]),
    )


def _check_readable(paths: pa.ChunkedArray) -> None:
    """Fail now rather than in an hour if S3 allows listing files but not reading them.

    The first, the middle and the last are tried, because one of them may be bad.
    """
    refusal = None
    for position in (0, len(paths) // 2, -1) if len(paths) else ():
        path = paths[position].as_py()
        if not filesystem.is_s3(path):
            return
        try:
            filesystem.check_readable(path)
        except StorageError as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


def _with_groups(
    rows: pa.Table,
    copies: Sequence[tuple[int, int]],
    *,
    groups: str | None,
    group_regex: str | None,
    name_by_patient: bool,
) -> pa.Table:
    """Readable rows with their group; patients and copies are joined."""
    is_readable = pc.is_null(rows["error"])
    readable = rows.filter(is_readable)
    names = belonging.named(
        readable, groups=groups, group_regex=group_regex, by_patient=name_by_patient
    )
    patients = [] if name_by_patient else duplicates.equal_pairs(readable["patient"].to_pylist())
    pairs = [*copies, *patients]
    if pairs:
        names = pa.array(duplicates.join_groups(names.to_pylist(), pairs), pa.string())
    return _filled(rows, "group", is_readable, names)


def _with_splits(rows: pa.Table, shares: Mapping[str, float] | None, seed: int) -> pa.Table:
    """Readable, labelled rows with their split."""
    is_labelled = pc.and_(pc.is_null(rows["error"]), pc.is_valid(rows["label"]))
    labelled = rows.select(["label", "group"]).filter(is_labelled)
    if shares is None or not labelled.num_rows:
        return rows
    splits = assign_splits(labelled["label"], labelled["group"], shares=shares, seed=seed)
    return _filled(rows, "split", is_labelled, pa.array(splits, pa.string()))


def _name_sources(roots: Sequence[str]) -> dict[str, str]:
    """A short name for each root: its last part, or all of it if two would be the same."""
    if len(set(roots)) != len(roots):
        raise InputError(f"a source is given twice: {', '.join(roots)}.")
    short = Counter(root.rsplit("/", 1)[-1] for root in roots)
    return {
        name if short[name] == 1 else root: root
        for root in roots
        for name in [root.rsplit("/", 1)[-1]]
    }


def _list_images(
    roots: Mapping[str, str], *, labels: bool, suffixless: bool
) -> tuple[pa.Table, dict[str, int]]:
    """Rows as far as a listing reveals them, and the number of other files by suffix.

    Args:
        roots: folder or prefix by the name of the source.
        labels: take the class from the folder.
        suffixless: open files without a suffix, which may be DICOM.
    """
    tables = []
    ignored: Counter[str] = Counter()
    for source, root in roots.items():
        num_images, num_ignored = 0, ignored.total()
        for listed in filesystem.list_tables(root):
            images_of, others = _separate(listed, root, suffixless=suffixless)
            ignored.update(others)
            num_images += images_of.num_rows
            tables.append(_described(images_of, source, labels=labels))
        if not num_images:
            raise InputError(
                f"{root} holds no images ({', '.join(constants.IMAGE_SUFFIXES)}); "
                f"it has {ignored.total() - num_ignored} other files."
            )
    table = pa.concat_tables(tables).combine_chunks()
    if len(roots) > 1:
        counts = pc.value_counts(table["path"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            path = twice[0]["values"].as_py()
            raise InputError(f"{path} is in two sources; give sources that do not overlap.")
    return table, dict(ignored)


def _separate(listed: pa.Table, root: str, *, suffixless: bool) -> tuple[pa.Table, Counter[str]]:
    """The images of a listing, with the column `inside`, and the other files by suffix."""
    start = len(filesystem.join(root, ""))
    listed = listed.append_column("inside", pc.utf8_slice_codeunits(listed["path"], start))
    # files left by editors, notebooks and archivers are neither images nor classes
    is_hidden = pc.match_substring_regex(listed["inside"], r"(^|/)(\.|__MACOSX)")
    suffix = pc.struct_field(pc.extract_regex(listed["inside"], r"(?P<suffix>\.[^./]*)$"), [0])
    suffix = pc.utf8_lower(pc.if_else(is_hidden, "hidden", pc.fill_null(suffix, "no suffix")))
    is_image = pc.is_in(suffix, value_set=pa.array(constants.IMAGE_SUFFIXES))
    if suffixless:
        is_image = pc.or_(
            is_image, file_checks.are_dicom(listed["path"], pc.equal(suffix, "no suffix"))
        )
    others = pc.value_counts(suffix.filter(pc.invert(is_image))).to_pylist()
    return listed.filter(is_image), Counter({item["values"]: item["counts"] for item in others})


def _described(listed: pa.Table, source: str, *, labels: bool) -> pa.Table:
    """Listed images with label, source and a group each."""
    inside = listed["inside"]
    folder = pc.struct_field(pc.extract_regex(inside, r"^(?P<folder>[^/]*)/"), [0])
    none = pa.nulls(listed.num_rows, pa.string())
    return (
        listed.append_column("label", folder if labels else none)
        .append_column("source", pa.repeat(pa.scalar(source), listed.num_rows))
        .append_column("group", pc.binary_join_element_wise(source, inside, "/"))
        .append_column("split", none)
    )


def _with_columns(listed: pa.Table, checks: pa.Table | None) -> pa.Table:
    for field in file_checks.COLUMNS:
        column = checks[field.name] if checks is not None else pa.nulls(listed.num_rows, field.type)
        listed = listed.append_column(field, column)
    return listed


def _filled(rows: pa.Table, name: str, where: pa.ChunkedArray, values: pa.Array) -> pa.Table:
    """The table with the values, in order, in the selected rows of one column."""
    old, mask = (column.combine_chunks() for column in (rows[name], where))
    return rows.set_column(
        rows.column_names.index(name), name, pc.replace_with_mask(old, mask, values)
    )


def _copies(rows: pa.Table) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of rows with the same content, and with the same picture."""
    exact = duplicates.equal_pairs(rows["content_hash"].to_pylist())
    return exact, duplicates.near_pairs(rows["perceptual_hash"].to_pylist())


def _mixed_labels(rows: pa.Table, pairs: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    """Paths of duplicates that are in two classes."""
    if not pairs:
        return []
    ones, others = (rows.select(["path", "label"]).take(side) for side in zip(*pairs, strict=True))
    differ = pc.fill_null(pc.not_equal(ones["label"], others["label"]), False)
    paths = (side["path"].filter(differ).to_pylist() for side in (ones, others))
    return sorted(set(zip(*paths, strict=True)))
