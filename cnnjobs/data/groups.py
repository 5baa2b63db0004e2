"""Which images belong together: those of a patient, and those of a source."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import globs
from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

#: Largest file of groups: of 10 million images it has about 1 GB.
_MAX_BYTES = 2 << 30

#: What makes a path a pattern.
_WILD = re.compile(r"[*?\[]")


def named(
    rows: pa.Table,
    *,
    groups: Sequence[str],
    group_regex: str | None,
    by_patient: bool,
    missing: str = "error",
) -> pa.Array:
    """The group of each row before duplicates are joined; by default each row is its own.

    Args:
        rows: of a manifest under construction, with `inside` and `patient`, and `table_group`
            where a table gives groups.
        groups: CSV files of groups, see `given`.
        group_regex: the group is what its one (group) captures in the file name, or if it has a
            slash, in the path below the source.
        by_patient: without any of these, rows with a known `patient` are grouped by it.
        missing: `own` makes images without a group their own; `error` refuses them.

    Raises:
        InputError: an image has no group, or a file cannot be used.
    """
    own = rows["group"].combine_chunks()
    if not is_given(rows, groups=groups, group_regex=group_regex):
        return pc.coalesce(rows["patient"].combine_chunks(), own) if by_patient else own
    found = given(rows, groups=groups, group_regex=group_regex)
    if missing == "own":
        return pc.coalesce(found, own)
    if groups:
        where = f"{' and '.join(groups)} {'has' if len(groups) == 1 else 'have'} no group for"
    elif group_regex is not None:
        where = f"group_regex {group_regex!r} matches no group in the name of"
    else:
        where = "the tables have no group for"
    return _complete(found, rows, where, " or add --groups-missing own")


def is_given(rows: pa.Table, *, groups: Sequence[str], group_regex: str | None) -> bool:
    """Whether groups come from a file, an expression or a table."""
    return bool(groups) or group_regex is not None or "table_group" in rows.column_names


def given(rows: pa.Table, *, groups: Sequence[str], group_regex: str | None) -> pa.Array:
    """The group that files, the expression or a table gives to each row, or null.

    A file is a CSV with the columns path (relative to its source, or absolute, or a pattern as
    for `--exclude`) and group. As `SOURCE=FILE` it is for the images of that source, whose groups
    are those of no other source.
    """
    if not groups and group_regex is None:
        if "table_group" not in rows.column_names:
            return pa.nulls(rows.num_rows, pa.string())
        return rows["table_group"].combine_chunks().cast(pa.string())
    inside = rows["inside"].to_pylist()
    if groups:
        found: list[str | None] = [None] * len(inside)
        paths, names = rows["path"].to_pylist(), rows["source"].to_pylist()
        for text in groups:
            source, _, file = text.partition("=")
            if not file or source not in names:
                source, file = "", text
            known, patterns = _read_groups(file)
            for position, path in enumerate(paths):
                if found[position] is None and source in ("", names[position]):
                    group = known.get(inside[position], known.get(path))
                    found[position] = f"{source}/{group}" if source and group else group
            _match_patterns(patterns, rows["inside"], names, source, file, found)
        return pa.array(found, pa.string())
    assert group_regex is not None
    texts = inside if "/" in group_regex else [name.rsplit("/", 1)[-1] for name in inside]
    return _captured(group_regex, texts)


def _match_patterns(
    patterns: Mapping[str, str],
    inside: pa.ChunkedArray,
    sources: Sequence[str],
    source: str,
    file: str,
    found: list[str | None],
) -> None:
    """Give images that have no group yet that of their pattern, in place."""
    by_pattern: dict[int, str] = {}
    for pattern, group in patterns.items():
        mask = pc.match_substring_regex(inside, globs.regex([pattern]))
        for position in np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist():
            if found[position] is not None or source not in ("", sources[position]):
                continue
            if by_pattern.setdefault(position, group) != group:
                raise InputError(f"{file} assigns two groups to {inside[position]}; keep one.")
    for position, group in by_pattern.items():
        found[position] = f"{source}/{group}" if source else group


def sources(rows: pa.Table, source_regex: str) -> pa.Array:
    """The source of each row: what the one (group) captures in the path below its root.

    Raises:
        InputError: it does not match an image.
    """
    found = _captured(source_regex, rows["inside"].to_pylist())
    where = f"source_regex {source_regex!r} matches no source in the path of"
    return _complete(found, rows, where)


def _captured(regex: str, texts: Sequence[str]) -> pa.Array:
    pattern = re.compile(regex)
    found = [match[1] if (match := pattern.search(text)) else None for text in texts]
    return pa.array(found, pa.string())


def _complete(found: pa.Array, rows: pa.Table, where: str, advice: str = "") -> pa.Array:
    """The values found, if every row has one."""
    is_lacking = pc.equal(pc.fill_null(found, ""), "")
    number = pc.sum(is_lacking).as_py()
    if number:
        first = rows["inside"][is_lacking.index(True).as_py()]
        raise InputError(
            f"{where} {number} of {len(found)} images, such as {first}; "
            f"every image needs one{advice and ','}{advice}."
        )
    return found


def _read_groups(file: str) -> tuple[dict[str, str], dict[str, str]]:
    """Groups by path, and by pattern."""
    try:
        # a pipe as well: `--groups <(zcat groups.csv.gz)`
        data = filesystem.read_bytes(filesystem.normalize(file), limit=_MAX_BYTES, pipes=True)
        text = data.decode("utf-8-sig")
    except (NotAFileError, TooLargeError) as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a CSV file of path,group.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not {"path", "group"} <= set(reader.fieldnames or ()):
        columns = ", ".join(reader.fieldnames or ()) or "nothing"
        raise InputError(f"{file} must have the columns path and group, it has {columns}.")
    known: dict[str, str] = {}
    for row in reader:
        if known.setdefault(row["path"], row["group"]) != row["group"]:
            raise InputError(f"{file} assigns two groups to {row['path']}; keep one.")
    patterns = {path: group for path, group in known.items() if group and _WILD.search(path)}
    return known, patterns
