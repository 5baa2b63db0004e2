"""From listed images and tables to labelled rows: what the tables say of each image."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cnnjobs.data.image_listing import Listing
from cnnjobs.data.tables import columns, parts
from cnnjobs.data.tables.files import open_table
from cnnjobs.data.tables.images import RESERVED, Images
from cnnjobs.data.tables.parts import NEGATIVE, POSITIVE, WHERE, Part
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """How to take labels and more from tables.

    Attributes:
        files: CSV, TSV, Parquet or text lists.
        columns: by role (`columns.ROLES`); None to guess it. A role that is missing is not taken
            from tables.
        map: pairs `OLD=NEW` for labels.
        where: condition for the rows to use.
        positive_when: condition for the label `positive`.
        negative_when: condition for the label `negative`.
        uncertain: what -1 counts as in columns of findings; see `labels.of_conditions`.
        keep: other columns to take along, as NAME or NAME=NEW; none keeps those that describe
            people.
        dicom_key: DICOM attribute that the path column holds.
        max_unmatched: so many rows without an image, or images without a row, are accepted.
    """

    files: Sequence[str]
    columns: Mapping[str, str | None]
    map: Sequence[str] = ()
    where: str | None = None
    positive_when: str | None = None
    negative_when: str | None = None
    uncertain: str = "leave-out"
    keep: Sequence[str] = ()
    dicom_key: str | None = None
    max_unmatched: str = "10%"

    @property
    def conditions(self) -> dict[str, str]:
        """Those that are given, by option."""
        each = {WHERE: self.where, POSITIVE: self.positive_when, NEGATIVE: self.negative_when}
        return {option: text for option, text in each.items() if text is not None}

    def settings(self) -> dict[str, Any]:
        """What a manifest records, as JSON has it."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def applied(
    listing: Listing, rules: TableRules, *, key: bytes | None, progress: Progress
) -> Listing:
    """The images that tables name, with what these say of them, and a report.

    Args:
        listing: of the images.
        rules: for the tables.
        key: for the hash that names groups of tables that are keyed by a DICOM attribute; without
            it they are named after their first image.
        progress: reports the rows read.

    Raises:
        InputError: a table cannot be read, its columns or values contradict each other or the
            images, or too much does not match.
    """
    paths = listing.rows["path"].combine_chunks()
    tables = _loaded(rules, paths, progress)
    report: dict[str, Any] = {
        "files": {
            part.file.uri: {
                "form": part.file.form,
                "columns": part.origins,
                "matched_by": part.how,
                "rows": part.table.num_rows,
            }
            for part in tables
        }
    }
    images = Images(paths, tables, rules)
    report |= images.unmatched(listing.roots)
    report["left_out"] = dict(images.left_out)
    rows = listing.rows
    for name, values in images.described(listing.rows, key).items():
        if name in rows.column_names:
            rows = rows.set_column(rows.column_names.index(name), name, values)
        else:
            rows = rows.append_column(name, values)
    report["kept"] = [name for name in rows.column_names if name not in RESERVED]
    report["not_kept"] = images.not_kept()
    report["split"] = images.split_by
    rows = rows.filter(pa.array(images.is_used))
    if not rows.num_rows:
        raise InputError(
            f"the tables leave no image ({_counted(images.left_out) or 'none is named'}); check "
            "--map, --where, --positive-when and --negative-when."
        )
    return dataclasses.replace(listing, rows=rows, table=report)


def _loaded(rules: TableRules, paths: pa.Array, progress: Progress) -> list[Part]:
    """Every table with its images; a chosen column must be in one of them."""
    opened = [open_table(file) for file in rules.files]
    keep: dict[str, str] = {}
    for pair in rules.keep:
        old, _, new = pair.partition("=")
        keep[old] = new or old
    named: list[tuple[str, str | None]] = [
        *((f"--{role}-column", name) for role, name in rules.columns.items()),
        *(("--keep", name) for name in keep),
    ]
    for option, name in named:
        if name is not None and not any(
            columns.plain(name) in map(columns.plain, file.columns) for file in opened
        ):
            columns.exact(name, opened[0], option)
    found = []
    for file in opened:
        chosen: dict[str, str | None] = {}
        for role, name in rules.columns.items():
            is_here = columns.plain(name or "") in map(columns.plain, file.columns)
            if name is None or is_here:
                chosen[role] = name
            elif role == "path":
                chosen[role] = None
        found.append(
            parts.load(file, chosen, rules.conditions, keep, rules.dicom_key, paths, progress)
        )
    for option in rules.conditions:
        if not any(option in part.conditions for part in found):
            raise next(part.errors[option] for part in found)
    needs_label = "label" in rules.columns and rules.positive_when is None
    if needs_label and not any("label" in part.roles for part in found):
        file = opened[0]
        raise InputError(
            f"no column of {file.uri} is called label, class or the like (it has "
            f"{', '.join(file.columns)}); give --label-column, or --positive-when and "
            "--negative-when, or --no-labels."
        )
    if rules.positive_when is not None and not any(
        POSITIVE in part.conditions and NEGATIVE in part.conditions for part in found
    ):
        raise InputError(
            f"{POSITIVE} {rules.positive_when!r} and {NEGATIVE} {rules.negative_when!r} name "
            "columns of different tables; join the tables, or use columns of one."
        )
    return found


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in numbers.items() if number)
