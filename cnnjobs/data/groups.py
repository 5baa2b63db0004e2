"""Which images belong together: those of a patient, and those of a source."""

import csv
import io
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

#: Largest file of groups: of 10 million images it has about 1 GB.
_MAX_BYTES = 2 << 30


def named(
    rows: pa.Table, *, groups: str | None, group_regex: str | None, by_patient: bool
) -> pa.Array:
    """The group of each row before duplicates are joined; by default each row is its own.

    Args:
        rows: of a manifest under construction, with `inside` and `patient`.
        groups: CSV with the columns path (relative to its source, or absolute) and group.
        group_regex: the group is what its one (group) captures in the file name.
        by_patient: without either, rows with a known `patient` are grouped by it.

    Raises:
        InputError: an image has no group, or the file cannot be used.
    """
    if groups is None and group_regex is None:
        own = rows["group"].combine_chunks()
        return pc.coalesce(rows["patient"].combine_chunks(), own) if by_patient else own
    where = (
        f"{groups} has no group for"
        if groups is not None
        else f"group_regex {group_regex!r} matches no group in the name of"
    )
    return _complete(given(rows, groups=groups, group_regex=group_regex), rows, where)


def given(rows: pa.Table, *, groups: str | None, group_regex: str | None) -> list[str | None]:
    """The group that the file or the expression gives to each row; None where it gives none."""
    inside = rows["inside"].to_pylist()
    if groups is not None:
        known = _read_groups(groups)
        pairs = zip(inside, rows["path"].to_pylist(), strict=True)
        return [known.get(name, known.get(path)) for name, path in pairs]
    if group_regex is not None:
        return _captured(group_regex, [name.rsplit("/", 1)[-1] for name in inside])
    return [None] * len(inside)


def sources(rows: pa.Table, source_regex: str) -> pa.Array:
    """The source of each row: what the one (group) captures in the path below its root.

    Raises:
        InputError: it does not match an image.
    """
    found = _captured(source_regex, rows["inside"].to_pylist())
    where = f"source_regex {source_regex!r} matches no source in the path of"
    return _complete(found, rows, where)


def _captured(regex: str, texts: Sequence[str]) -> list[str | None]:
    pattern = re.compile(regex)
    return [match[1] if (match := pattern.search(text)) else None for text in texts]


def _complete(found: Sequence[str | None], rows: pa.Table, where: str) -> pa.Array:
    """The values found, if every row has one."""
    lacking = [position for position, name in enumerate(found) if not name]
    if lacking:
        raise InputError(
            f"{where} {len(lacking)} of {len(found)} images, such as {rows['inside'][lacking[0]]}; "
            "every image needs one."
        )
    return pa.array(found, pa.string())


def _read_groups(file: str) -> dict[str, str]:
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
    return known
