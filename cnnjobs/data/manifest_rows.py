"""From a table of images that comes from elsewhere to the rows of a manifest."""

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.config.constants import SPLITS
from cnnjobs.data.splits import assign_splits
from cnnjobs.errors import ManifestError
from cnnjobs.storage import archives, filesystem
from cnnjobs.storage.archives.listing import Notes, list_tables
from cnnjobs.storage.listing import LISTING

#: Other names for columns of a manifest.
_ALIASES = {
    **dict.fromkeys(("class", "finding", "diagnosis", "category", "target"), "label"),
    **dict.fromkeys(("file", "filename", "image"), "path"),
    **dict.fromkeys(("patient", "patient_id", "patientid", "subject"), "group"),
}


def complete(table: pa.Table) -> pa.Table:
    """The table with all columns of a manifest; see `Manifest.from_arrow`.

    Raises:
        ManifestError: the table cannot be made into a manifest.
    """
    misnamed = _misnamed(table.column_names)
    if misnamed or "path" not in table.column_names:
        found = ", ".join(table.column_names) or "none"
        problem = misnamed or f"has no path, only {found}"
        raise ManifestError(
            f"the table {problem}; a manifest has {', '.join(schema.MANIFEST.names)}, of "
            "which path is required."
        )
    known = [name for name in schema.MANIFEST.names if name in table.column_names]
    more = [name for name in table.column_names if name not in known]
    columns = {name: _cast(table[name], name) for name in known}
    if not table.num_rows or columns["path"].null_count:
        raise ManifestError(
            "the table must have at least one row, and a path in each; it has "
            f"{table.num_rows} rows, {columns['path'].null_count} of them without a path."
        )
    paths = [filesystem.normalize(path) for path in columns["path"].to_pylist()]
    repeated = next((path for path, count in Counter(paths).items() if count > 1), None)
    if repeated is not None:
        raise ManifestError(f"{repeated} is in the table more than once; keep one of its rows.")
    columns["path"] = pa.array(paths, pa.string())
    if "size_bytes" not in columns:
        columns |= _listed(paths)
    named = columns.get("group", pa.nulls(len(paths), pa.string()))
    columns["group"] = pc.coalesce(named, columns["path"])
    columns["source"] = pc.coalesce(
        columns.get("source", pa.nulls(len(paths), pa.string())), pa.scalar("table")
    )
    _check_splits(columns)
    missing = [field for field in schema.MANIFEST if field.name not in columns]
    columns |= {field.name: pa.nulls(len(paths), field.type) for field in missing}
    rows = pa.table({name: columns[name] for name in schema.MANIFEST.names}, schema.MANIFEST)
    for name in more:
        rows = rows.append_column(name, table[name])
    return rows


def split(rows: pa.Table, shares: Mapping[str, float], seed: int) -> pa.Table:
    """Split the labelled images by group; see `splits.assign_splits`.

    Raises:
        ManifestError: the shares are not of splits, or do not add up to 1.
        InputError: a label has too few groups.
    """
    if set(shares) - set(SPLITS) or not math.isclose(sum(shares.values()), 1):
        raise ManifestError(
            f"shares must be of {', '.join(SPLITS)} and add up to 1, got {dict(shares)}."
        )
    is_labelled = pc.and_(pc.is_valid(rows["label"]), pc.is_null(rows["error"])).combine_chunks()
    labelled = rows.filter(is_labelled)
    splits = assign_splits(
        labelled["label"],
        labelled["group"],
        shares=shares,
        seed=seed,
        advice="leave shares out",
    )
    column = pc.replace_with_mask(
        pa.nulls(rows.num_rows, pa.string()), is_labelled, pa.array(splits, pa.string())
    )
    return rows.set_column(rows.column_names.index("split"), schema.MANIFEST.field("split"), column)


def common_folder(paths: Sequence[str]) -> str:
    """The innermost folder or prefix that holds all paths."""
    first, *others = (path.split("/")[:-1] for path in (min(paths), max(paths)))
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, *others, strict=False))
    return "/".join(part for part, _ in shared)


def _misnamed(names: Sequence[str]) -> str | None:
    """What is wrong with a column whose name is nearly that of a manifest's, which is missing."""
    free = [name for name in schema.MANIFEST.names if name not in names]
    for name in names:
        if name in schema.MANIFEST.names:
            continue
        near = difflib.get_close_matches(name.lower(), free, n=1, cutoff=0.8)
        meant = _ALIASES.get(name.lower()) or (near[0] if near else None)
        if meant in free:
            return f"has the column {name!r} and no {meant}; rename it to {meant}"
    return None


def _cast(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = schema.MANIFEST.field(name).type
    try:
        return column.cast(kind)
    except (ValueError, pa.ArrowException) as error:
        raise ManifestError(f"column {name} must be {kind}, got {column.type}.") from error


def _listed(paths: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Size, time and ETag of each file, from listings of their folders."""
    files = {archives.archive_of(path) for path in paths}
    outermost: list[str] = []
    # a listing includes the folders below, which with the slash come right after
    for folder in sorted({f"{file.rpartition('/')[0]}/" for file in files}):
        if not (outermost and folder.startswith(outermost[-1])):
            outermost.append(folder)
    listed = pa.concat_tables(
        [
            LISTING.empty_table(),
            *(
                table
                for folder in outermost
                for table in list_tables(
                    folder.rstrip("/"),
                    Notes(),
                    skip=lambda path: None if path in files else "not named",
                )
            ),
        ]
    )
    position = pc.index_in(pa.array(paths, pa.string()), value_set=listed["path"])
    if position.null_count:
        first = paths[pc.is_null(position).index(True).as_py()]
        raise ManifestError(
            f"{position.null_count} of {len(paths)} files do not exist, {first} the first; give "
            "absolute paths, or leave those rows out."
        )
    found = listed.take(position)
    return {name: found[name] for name in ("size_bytes", "modified", "etag")}


def _check_splits(columns: Mapping[str, pa.ChunkedArray]) -> None:
    if "split" not in columns:
        return
    for split in pc.unique(columns["split"]).drop_null().to_pylist():
        if split not in SPLITS:
            raise ManifestError(f"split must be one of {', '.join(SPLITS)} or null, got {split}.")
