"""From manifests to a section: which images there are."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import SPLITS
from cnnjobs.data import dataset_summary
from cnnjobs.data.manifest import Manifest
from cnnjobs.report.blocks import Detail, Section, Table, shown, shown_values


def data_section(manifests: Mapping[str, Manifest]) -> Section | None:
    """Images by class and split, and by source, of each manifest."""
    if not manifests:
        return None
    sections = [_data_of(fingerprint, images) for fingerprint, images in manifests.items()]
    return Section(
        name="data",
        title="Data",
        # two manifests of the same images are warned of alike
        warnings=list(dict.fromkeys(text for _, warnings in sections for text in warnings)),
        tables=[table for tables, _ in sections for table in tables],
        details=[
            Detail(title=f"Manifest {fingerprint}", facts=shown_values(images.settings))
            for fingerprint, images in manifests.items()
        ],
    )


def _data_of(fingerprint: str, images: Manifest) -> tuple[list[Table], list[str]]:
    rows = images.table
    by_class = _crossed(rows, "label", "split", first=SPLITS)
    by_source = _crossed(rows, "label", "source")
    groups = pc.count_distinct(rows["group"]).as_py()
    tables = [
        Table(
            caption=f"{rows.num_rows:,} images of {groups:,} groups (patients, where they are "
            f"known), by class and split. Manifest {fingerprint}.",
            **by_class,
        )
    ]
    sources = pc.unique(rows["source"]).to_pylist()
    if len(sources) > 1:
        tables.append(Table(caption="The same by source.", **by_source))
    unreadable = len(rows) - rows["error"].null_count
    warnings = dataset_summary.told_by_source(_counted(rows, "source", "label"))
    if len(sources) == 1:
        warnings.append(
            f"All images are indexed as one source, {sources[0]}: where each class was collected "
            "somewhere else, nothing here would show that the model tells the places apart."
        )
    if unreadable:
        warnings.append(f"{unreadable:,} images could not be read when they were indexed.")
    return tables, [warning[0].upper() + warning[1:] for warning in warnings]


def _crossed(
    rows: pa.Table, down: str, across: str, first: Sequence[str] = ()
) -> dict[str, Sequence[Any]]:
    """Header and rows of a table of counts."""
    counts = _counted(rows, down, across)
    names = {name for its in counts.values() for name in its}
    columns = [name for name in first if name in names] + sorted(names - set(first))
    return {
        "header": ["class", *columns, "all"],
        "rows": [
            [name, *(shown(its.get(column, 0)) for column in columns), shown(sum(its.values()))]
            for name, its in sorted(counts.items())
        ],
    }


def _counted(rows: pa.Table, down: str, across: str) -> dict[str, dict[str, int]]:
    counted = rows.select([down, across]).group_by([down, across]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        its = counts.setdefault(row[down] or f"no {down}", {})
        its[row[across] or f"no {across}"] = row["count_all"]
    return counts
