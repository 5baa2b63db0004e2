"""One table of `index --table`: its columns, its rows, and the images that these name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.config.constants import DICOM_KEYS
from cnnjobs.data import file_checks
from cnnjobs.data.tables import columns, matching
from cnnjobs.data.tables.expressions import Expression
from cnnjobs.data.tables.files import TableFile
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import archives

WHERE, POSITIVE, NEGATIVE = "--where", "--positive-when", "--negative-when"

#: Between the findings of one cell, as in `Finding Labels` of NIH ChestX-ray14.
_BETWEEN_FINDINGS = "|"


@dataclass(kw_only=True)
class Part:
    """A loaded table.

    Attributes:
        file: that was opened.
        roles: columns by role.
        conditions: by option, those whose columns the table has.
        errors: by option, why the others are no conditions on this table.
        extra: other columns to take along, and their new names.
        table: the rows of these columns.
        rows: with `files`, each row that names an image, and that image's position.
        files: see `rows`.
        key: the DICOM attribute that names the images, if it is not their path.
        how: how images were found, in words.
    """

    file: TableFile
    roles: Mapping[str, str]
    conditions: Mapping[str, Expression]
    errors: Mapping[str, InputError]
    extra: Mapping[str, str]
    table: pa.Table
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    files: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    key: str | None = None
    how: str = ""

    @property
    def origins(self) -> dict[str, str]:
        """The columns of each role, and those that the conditions for labels name."""
        given = [self.conditions[each] for each in (POSITIVE, NEGATIVE) if each in self.conditions]
        named = dict.fromkeys(name for each in given for name in each.columns)
        found = dict(self.roles)
        if named:
            found.setdefault("label", ", ".join(named))
        return found

    def column(self, name: str) -> pa.Array:
        """A column's values; of a finding in cells such as `Edema|Mass`, whether each has it."""
        if name in self.table.column_names:
            return self.table[name].combine_chunks()
        cells = self.encoded(self.roles["label"])
        found = [
            str(int(name in map(str.strip, cell.split(_BETWEEN_FINDINGS))))
            for cell in cells.dictionary.to_pylist()
        ]
        return pa.array(found, pa.string()).take(cells.indices)

    def encoded(self, name: str) -> pa.DictionaryArray:
        """A column as texts, each distinct one once."""
        column = self.table[name].combine_chunks()
        return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()

    def without_image(self) -> NDArray[np.bool_]:
        """Whether each row names no image."""
        is_without = np.ones(self.table.num_rows, bool)
        is_without[self.rows] = False
        return is_without

    def named(self, positions: Sequence[int]) -> list[str]:
        """Rows by what they name, or by their number if that would identify a patient."""
        if self.key is not None:
            return [f"row {position + 1}" for position in positions]
        texts = self.table[self.roles["path"]].combine_chunks()
        return [str(texts[position]) for position in positions]


def load(
    file: TableFile,
    chosen: Mapping[str, str | None],
    conditions: Mapping[str, str],
    keep: Mapping[str, str],
    key: str | None,
    paths: pa.Array,
    progress: Progress,
) -> Part:
    """Read what is needed of a table, and find its images.

    Args:
        file: the opened table.
        chosen: columns by role, see `columns.choose`.
        conditions: by option; one that names columns of another table is left out.
        keep: other columns and their new names; without any, what describes people is kept.
        key: DICOM attribute that the path column holds, if it is known.
        paths: of all images.
        progress: reports the rows read.
    """
    names = pc.unique(_names(paths))

    def num_found(texts: pa.Array) -> int:
        return int(pc.sum(pc.is_in(_names(texts), value_set=names)).as_py() or 0)

    roles = columns.choose(file, chosen, num_found)
    parsed, errors = _parsed(file, roles, conditions)
    named = {name for each in parsed.values() for name in each.columns}
    if POSITIVE in conditions and named <= {*file.columns}:
        # no condition is on findings in the cells of a column of labels
        roles = {role: name for role, name in roles.items() if role != "label"}
    free = [
        name for name in file.columns if name not in roles.values() or name == roles.get("source")
    ]
    extra = {name: new for name, new in keep.items() if name in file.columns}
    if not keep and file.has_header:
        extra = {name: name for name in free if columns.worth_keeping(name, file.head[name])}
    needed = {*roles.values(), *extra, *named} & {*file.columns}
    part = Part(
        file=file,
        roles=roles,
        conditions=parsed,
        errors=errors,
        extra=extra,
        table=file.load(
            [name for name in file.columns if name in needed], [roles["path"]], progress
        ),
    )
    _find_images(part, key, paths, num_found)
    return part


def _parsed(
    file: TableFile, roles: Mapping[str, str], conditions: Mapping[str, str]
) -> tuple[dict[str, Expression], dict[str, InputError]]:
    known = [*file.columns, *_findings(file, roles)]
    parsed, errors = {}, {}
    for option, text in conditions.items():
        try:
            parsed[option] = Expression(option, text, known)
        except InputError as error:
            errors[option] = error
    return parsed, errors


def _findings(file: TableFile, roles: Mapping[str, str]) -> list[str]:
    """The findings in the cells of the label column."""
    if "label" not in roles:
        return []
    name = roles["label"]
    if not pc.any(pc.match_substring(file.head[name], _BETWEEN_FINDINGS), min_count=0).as_py():
        return []
    cells = file.load([name], [], silent)[name].combine_chunks().dictionary.to_pylist()
    return sorted({part.strip() for cell in cells for part in cell.split(_BETWEEN_FINDINGS)})


def _find_images(part: Part, key: str | None, paths: pa.Array, num_found: Any) -> None:
    name = part.roles["path"]
    texts = part.table[name].combine_chunks()
    plain = columns.plain(name)
    if key is None and not num_found(pc.unique(texts.drop_null()).slice(0, 10_000)):
        key = next((each for each in DICOM_KEYS if each.lower() == plain), None)
    if key is None:
        match = matching.match(texts, paths)
        if match.ambiguous is not None:
            text, one, other = match.ambiguous
            raise InputError(
                f"{match.num_ambiguous} rows of {part.file.uri} name several images, such as "
                f"{text} ({one} and {other}); give a column with the folders, or the folder of "
                "these images alone."
            )
        part.rows = np.flatnonzero(match.files >= 0)
        part.files = match.files[part.rows]
        part.how = match.how
        return
    part.key, part.how = key, f"DICOM {key}"
    values = pa.array(file_checks.identifiers(paths.to_pylist(), key), pa.string())
    rows = pa.table({"key": pc.utf8_trim_whitespace(texts), "row": np.arange(len(texts))})
    files = pa.table({"key": values, "file": np.arange(len(values))})
    pairs = rows.drop_null().join(files.drop_null(), "key", join_type="inner").sort_by("row")
    part.rows, part.files = (pairs[side].to_numpy().astype(np.int64) for side in ("row", "file"))


def _names(paths: pa.Array) -> pa.Array:
    """The name of each file without its folder and suffix."""
    names = pc.replace_substring(pc.utf8_trim_whitespace(paths), "\\", "/")
    names = pc.replace_substring_regex(archives.as_folders(names), "^.*/", "")
    return pc.replace_substring_regex(names, matching.SUFFIX, "")
