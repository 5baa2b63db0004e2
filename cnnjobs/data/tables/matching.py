"""Which file each row of a table names: by path, by its last parts, or by its stem."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.config.constants import IMAGE_SUFFIXES
from cnnjobs.storage import archives

SUFFIX = rf"(?i)({'|'.join(map(re.escape, IMAGE_SUFFIXES))})$"

#: In place of a file: the row names several, or one of a folder that is not here.
_SEVERAL, _ELSEWHERE = -2, -3

#: Folders and a name, of which a table's path and a file's may share the last ones.
_MOST_PARTS = 12


@dataclass(frozen=True, kw_only=True)
class Match:
    """The file of each row.

    Attributes:
        files: positions of the files, -1 for rows without one.
        ambiguous: a row that names several files, as (its text, two of the files), if there is one.
        num_ambiguous: how many rows do.
        how: in words, for the report.
    """

    files: NDArray[np.int64]
    ambiguous: tuple[str, str, str] | None
    num_ambiguous: int
    how: str


def match(names: pa.Array, paths: pa.Array) -> Match:
    """Find the file that each name means.

    A name is a path, absolute or with any number of its last parts, with or without the suffix of
    an image. The longest match counts. Of a path from another machine, the beginning that most
    rows have in common with no file is ignored; other beginnings only if no two rows then claim
    one file, because `valid/1.png` is not `train/1.png`.
    """
    keys = _cleaned(names)
    files = np.full(len(keys), -1, np.int64)
    ambiguous: tuple[str, str, str] | None = None
    num_ambiguous = 0
    without_suffix = False
    for strip in (False, True):
        open_rows = np.flatnonzero((files == -1) & pc.is_valid(keys).to_numpy(zero_copy_only=False))
        if not len(open_rows):
            break
        rows, of_files = keys.take(pa.array(open_rows)), _cleaned(paths)
        if strip:
            rows, of_files = (
                pc.replace_substring_regex(each, SUFFIX, "") for each in (rows, of_files)
            )
        found, example = _by_last_parts(rows, of_files)
        hits = found >= 0
        without_suffix |= strip and bool(hits.any())
        files[open_rows[hits]] = found[hits]
        num_ambiguous += int((found == _SEVERAL).sum())
        settled = found < -1
        files[open_rows[settled]] = found[settled]
        if example is not None and ambiguous is None:
            row, one, other = example
            ambiguous = (str(names[int(open_rows[row])]), str(paths[one]), str(paths[other]))
    files[files < 0] = -1
    how = "path without suffix" if without_suffix else "path"
    return Match(files=files, ambiguous=ambiguous, num_ambiguous=num_ambiguous, how=how)


def _cleaned(names: pa.Array) -> pa.Array:
    """Paths with slashes, and no spaces around them."""
    names = archives.as_folders(pc.replace_substring(pc.utf8_trim_whitespace(names), "\\", "/"))
    names = pc.replace_substring_regex(names, r"^(file://)?(\./)*", "")
    return pc.replace_substring_regex(names, "/{2,}", "/")


def _by_last_parts(
    rows: pa.Array, paths: pa.Array
) -> tuple[NDArray[np.int64], tuple[int, int, int] | None]:
    """The file of each row, -1 for none, or why there is none; and an example of several."""
    depth = _depths(rows)
    found = np.full(len(rows), -1, np.int64)
    parts = np.zeros(len(rows), np.int64)
    example = None
    for number in range(min(int(depth.max(initial=0)), _MOST_PARTS), 0, -1):
        todo = np.flatnonzero((found == -1) & (depth >= number))
        if not len(todo):
            continue
        keys = _last(rows.take(pa.array(todo)), number)
        of_files = _last(paths, number)
        first = pc.index_in(keys, value_set=of_files)
        hits = pc.is_valid(first).to_numpy(zero_copy_only=False)
        if not hits.any():
            continue
        positions = first.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)[hits]
        several = _repeated(of_files)
        if len(several):
            is_unclear = pc.is_in(keys, value_set=several).to_numpy(zero_copy_only=False)[hits]
            if is_unclear.any() and example is None:
                position = int(np.argmax(is_unclear))
                key = of_files[int(positions[position])].as_py()
                same = np.flatnonzero(pc.equal(of_files, key).to_numpy(zero_copy_only=False))
                example = (int(todo[hits][position]), int(same[0]), int(same[1]))
            positions[is_unclear] = _SEVERAL
        found[todo[hits]] = positions
        parts[todo[hits]] = number
    _drop_other_folders(found, parts, depth, rows)
    return found, example


def _drop_other_folders(
    found: NDArray[np.int64], parts: NDArray[np.int64], depth: NDArray[np.int64], rows: pa.Array
) -> None:
    """Rows whose first folders match no file, and that claim a file that another row means."""
    is_part = (found >= 0) & (parts < depth)
    if not is_part.any():
        return
    positions = np.flatnonzero(is_part)
    texts = rows.take(pa.array(positions)).to_pylist()
    beginnings = [
        "/".join(text.split("/")[:-number])
        for text, number in zip(texts, parts[positions].tolist(), strict=True)
    ]
    counts: dict[str, tuple[int, int]] = {}
    for beginning, number in zip(beginnings, parts[positions].tolist(), strict=True):
        most, times = counts.get(beginning, (0, 0))
        counts[beginning] = (max(most, number), times + 1)
    if len(counts) == 1 and is_part[found >= 0].all():
        return
    best = max(counts, key=lambda name: (counts[name], name))
    claims: dict[int, str] = dict.fromkeys(found[(found >= 0) & ~is_part].tolist(), "")
    order = sorted(range(len(positions)), key=lambda each: beginnings[each] != best)
    for each in order:
        owner = claims.setdefault(int(found[positions[each]]), beginnings[each])
        if owner != beginnings[each]:
            found[positions[each]] = _ELSEWHERE


def _depths(names: pa.Array) -> NDArray[np.int64]:
    slashes = pc.count_substring(names, "/").fill_null(0)
    result: NDArray[np.int64] = slashes.to_numpy(zero_copy_only=False).astype(np.int64) + 1
    return result


def _last(names: pa.Array, number: int) -> pa.Array:
    """The last so many parts of each path, or all of a shorter one."""
    return pc.replace_substring_regex(names, rf"^.*?((?:[^/]+/){{{number - 1}}}[^/]+)$", r"\1")


def _repeated(keys: pa.Array) -> pa.Array:
    counts = pc.value_counts(keys)
    return counts.filter(pc.greater(counts.field("counts"), 1)).field("values")


def unnamed(paths: pa.Array, files: Sequence[NDArray[np.int64]]) -> Any:
    """Whether each file is named by none of the rows."""
    is_named = np.zeros(len(paths), bool)
    for each in files:
        is_named[each[each >= 0]] = True
    return ~is_named
