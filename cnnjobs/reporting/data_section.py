"""From manifests to a section: which images there are."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import SPLITS
from cnnjobs.config.printable import counted
from cnnjobs.data import dataset_summary
from cnnjobs.data.manifest import Manifest
from cnnjobs.reporting.blocks import Detail, Section, Table, to_text, to_texts


def data_section(manifests: Mapping[str, Manifest]) -> Section | None:
    """Images by class and split, and by source, of each manifest."""
    if not manifests:
        return None
    parts = [_describe(fingerprint, images) for fingerprint, images in manifests.items()]
    return Section(
        name="data",
        title="Data",
        # two manifests of the same images have the same warnings
        warnings=list(dict.fromkeys(text for _, warnings in parts for text in warnings)),
        tables=[table for tables, _ in parts for table in tables],
        details=[
            Detail(title=f"Manifest {fingerprint}", facts=to_texts(images.settings))
            for fingerprint, images in manifests.items()
        ],
    )


def _describe(fingerprint: str, images: Manifest) -> tuple[list[Table], list[str]]:
    """Tables and warnings of one manifest."""
    rows = images.table
    by_class = _cross_table(rows, "label", "split", first=SPLITS)
    by_source = _cross_table(rows, "label", "source")
    num_groups = pc.count_distinct(rows["group"]).as_py()
    tables = [
        Table(
            caption=f"{counted(rows.num_rows, 'image')} from {counted(num_groups, 'group')} "
            "(patients, where known), "
            f"by class and split. Manifest {fingerprint}.",
            **by_class,
        )
    ]
    sources = pc.unique(rows["source"]).to_pylist()
    if len(sources) > 1:
        tables.append(Table(caption="The same images by source.", **by_source))
    num_unreadable = len(rows) - rows["error"].null_count
    warnings = dataset_summary.source_warnings(_counts(rows, "source", "label"))
    if len(sources) == 1:
        warnings.append(
            f"All images are indexed as one source, {sources[0]}: if each class was collected at a "
            "different site, nothing here would show that the model recognizes the site."
        )
    if num_unreadable:
        warnings.append(f"Images that could not be read when indexed: {num_unreadable:,}.")
    return tables, [warning[0].upper() + warning[1:] for warning in warnings]


def _cross_table(
    rows: pa.Table, down: str, across: str, first: Sequence[str] = ()
) -> dict[str, Any]:
    """Header and rows of a table of counts, with the columns `first` before the others."""
    counts = _counts(rows, down, across)
    names = {name for by_column in counts.values() for name in by_column}
    columns = [name for name in first if name in names] + sorted(names - set(first))
    return {
        "header": ["class", *columns, "all"],
        "rows": [
            [
                name,
                *(to_text(by_column.get(column, 0)) for column in columns),
                to_text(sum(by_column.values())),
            ]
            for name, by_column in sorted(counts.items())
        ],
    }


def _counts(rows: pa.Table, down: str, across: str) -> dict[str, dict[str, int]]:
    counted = rows.select([down, across]).group_by([down, across]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        by_column = counts.setdefault(row[down] or f"no {down}", {})
        by_column[row[across] or f"no {across}"] = row["count_all"]
    return counts
