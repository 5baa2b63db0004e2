"""From folders and S3 prefixes to a manifest: list, label, look inside, group, split."""

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
    """A manifest and what was noticed on the way."""

    manifest: Manifest
    ignored: Mapping[str, int]
    num_exact_copies: int
    num_near_copies: int
    mixed_labels: Sequence[Sequence[str]]


def open_data(
    data: str, *, for_training: bool = True, split: bool = True, progress: Progress = silent
) -> Manifest:
    """The manifest of DATA: read if it is a `.parquet` file, else made of the folder or prefix.

    Args:
        data: a manifest, a folder or an S3 prefix.
        for_training: look inside every image of a folder (copies, readable or not) and split
            them with the default shares and seed 0; else they are listed.
        split: False leaves the images of a folder without a split.
        progress: told about the files looked into.
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
    group_key: bytes | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Indexed:
    """List the images under folders and S3 prefixes and decide all that is decided once.

    Args:
        sources: folders or prefixes; the folders right below one are the classes.
        labels: False takes no class from the folders.
        groups: CSV with the columns path (relative to its source, or whole) and group.
        group_regex: the group is what its one (group) captures in the file name.
        source_regex: the source is what its one (group) captures in the path inside its tree;
            None names it by its tree.
        shares: of the images that get each split; None splits nothing.
        content: read every image for its hashes, size and readability.
        suffixless: open files without a suffix, which are images if they begin as DICOM does.
        any_modality: take DICOM files that are no projection radiographs, too.
        group_key: of the hash that names the group of a DICOM file's patient, where there is
            neither `groups` nor `group_regex`; None names it by the patient's first file.
        seed: of the split.
        progress: told about the files looked into.

    Raises:
        InputError: nothing to index, a group is missing, or a class has too few groups.
    """
    roots = _name_sources([filesystem.normalize(source) for source in sources])
    listed, ignored = _list_images(roots, labels=labels, look=suffixless)
    _check_readable(listed["path"])
    look = functools.partial(
        file_checks.look_inside, any_modality=any_modality, key=group_key or secrets.token_bytes(32)
    )
    looks = (
        file_checks.look_inside_all(listed["path"].to_pylist(), look, progress) if content else None
    )
    rows = _with_columns(listed, looks)
    if source_regex is not None:
        place = rows.column_names.index("source")
        rows = rows.set_column(place, "source", belonging.sources(rows, source_regex))

    is_usable = pc.is_null(rows["error"])
    usable = rows.filter(is_usable)
    names = belonging.named(
        usable, groups=groups, group_regex=group_regex, by_patient=group_key is not None
    )
    exact, near = _copies(usable) if content else ([], [])
    # without a key of the user's the hash of a patient is good for this run alone
    kin = duplicates.equal_pairs(usable["patient"].to_pylist()) if group_key is None else []
    if exact or near or kin:
        pairs = [*exact, *near, *kin]
        names = pa.array(duplicates.join_groups(names.to_pylist(), pairs), pa.string())
    rows = _filled(rows, "group", is_usable, names)
    is_labelled = pc.and_(is_usable, pc.is_valid(rows["label"]))
    labelled = rows.select(["label", "group"]).filter(is_labelled)
    if shares is not None and labelled.num_rows:
        splits = assign_splits(labelled["label"], labelled["group"], shares=shares, seed=seed)
        rows = _filled(rows, "split", is_labelled, pa.array(splits, pa.string()))

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
        mixed_labels=_mixed_labels(usable, [*exact, *near]),
    )


def _check_readable(paths: pa.ChunkedArray) -> None:
    """Refuse now, not after an hour, where S3 lets files be listed and not read.

    One of them may be a bad one: the first, the middle and the last are tried.
    """
    refusal = None
    for place in (0, len(paths) // 2, -1) if len(paths) else ():
        path = paths[place].as_py()
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
    roots: Mapping[str, str], *, labels: bool, look: bool
) -> tuple[pa.Table, dict[str, int]]:
    """Rows as far as a listing tells, and the number of other files by suffix.

    Args:
        roots: folder or prefix by the name of the source.
        labels: take the class from the folder.
        look: open files without a suffix, which may be DICOM.
    """
    tables = []
    ignored: Counter[str] = Counter()
    for source, root in roots.items():
        num_images, num_ignored = 0, ignored.total()
        for listed in filesystem.list_tables(root):
            images_of, others = _told_apart(listed, root, look=look)
            ignored.update(others)
            num_images += images_of.num_rows
            tables.append(_described(images_of, source, labels=labels))
        if not num_images:
            raise InputError(
                f"{root} holds no images ({', '.join(constants.IMAGE_SUFFIXES)}); "
                f"{ignored.total() - num_ignored} other files were seen."
            )
    table = pa.concat_tables(tables).combine_chunks()
    if len(roots) > 1:
        counts = pc.value_counts(table["path"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            path = twice[0]["values"].as_py()
            raise InputError(f"{path} is in two sources; give sources that don't overlap.")
    return table, dict(ignored)


def _told_apart(listed: pa.Table, root: str, *, look: bool) -> tuple[pa.Table, Counter[str]]:
    """The images of a listing, with the column `inside`, and the others by suffix."""
    start = len(filesystem.join(root, ""))
    listed = listed.append_column("inside", pc.utf8_slice_codeunits(listed["path"], start))
    # what editors, notebooks and archivers leave is no image, and no class
    is_hidden = pc.match_substring_regex(listed["inside"], r"(^|/)(\.|__MACOSX)")
    suffix = pc.struct_field(pc.extract_regex(listed["inside"], r"(?P<suffix>\.[^./]*)$"), [0])
    suffix = pc.utf8_lower(pc.if_else(is_hidden, "hidden", pc.fill_null(suffix, "no suffix")))
    is_image = pc.is_in(suffix, value_set=pa.array(constants.IMAGE_SUFFIXES))
    if look:
        is_image = pc.or_(
            is_image, file_checks.are_dicom(listed["path"], pc.equal(suffix, "no suffix"))
        )
    others = pc.value_counts(suffix.filter(pc.invert(is_image))).to_pylist()
    return listed.filter(is_image), Counter({item["values"]: item["counts"] for item in others})


def _described(listed: pa.Table, source: str, *, labels: bool) -> pa.Table:
    """Listed images with label, source and the group of their own."""
    inside = listed["inside"]
    folder = pc.struct_field(pc.extract_regex(inside, r"^(?P<folder>[^/]*)/"), [0])
    none = pa.nulls(listed.num_rows, pa.string())
    return (
        listed.append_column("label", folder if labels else none)
        .append_column("source", pa.repeat(pa.scalar(source), listed.num_rows))
        .append_column("group", pc.binary_join_element_wise(source, inside, "/"))
        .append_column("split", none)
    )


def _with_columns(listed: pa.Table, looks: pa.Table | None) -> pa.Table:
    for field in file_checks.COLUMNS:
        column = looks[field.name] if looks is not None else pa.nulls(listed.num_rows, field.type)
        listed = listed.append_column(field, column)
    return listed


def _filled(rows: pa.Table, name: str, where: pa.ChunkedArray, values: pa.Array) -> pa.Table:
    """The table with the values, in order, in the rows of one column that are wanted."""
    old, mask = (column.combine_chunks() for column in (rows[name], where))
    return rows.set_column(
        rows.column_names.index(name), name, pc.replace_with_mask(old, mask, values)
    )


def _copies(rows: pa.Table) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of rows of the same content, and of the same picture."""
    exact = duplicates.equal_pairs(rows["content_hash"].to_pylist())
    return exact, duplicates.near_pairs(rows["perceptual_hash"].to_pylist())


def _mixed_labels(rows: pa.Table, pairs: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    """Paths of copies that stand in two classes."""
    if not pairs:
        return []
    ones, others = (rows.select(["path", "label"]).take(side) for side in zip(*pairs, strict=True))
    differ = pc.fill_null(pc.not_equal(ones["label"], others["label"]), False)
    paths = (side["path"].filter(differ).to_pylist() for side in (ones, others))
    return sorted(set(zip(*paths, strict=True)))
