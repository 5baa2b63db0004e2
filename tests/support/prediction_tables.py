"""Tables of predictions without a model: made row by row, written in any layout, compared."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from cnnjobs import schema
from cnnjobs.inference import predictions
from cnnjobs.inference.partitions import Partition

#: Folders of an archive that readers might take for something else, or stumble over.
NAMES = (
    *("03", "7", "1e5", "2024-01-01", "2024-01-01 10:00:00", "true", "null", "NaN"),
    *("a=b", "label=03", "50%", "50%25", "two words", "Größe", "胸部", "a+b", "a:b", "a#b", "a'b"),
    *('a"b', "a*b", "a?b", "a[1]b", "a{b}", "a\\b", "a&b", "_hidden", ".hidden", "Case", "case"),
    *("__HIVE_DEFAULT_PARTITION__", "no_label", "long " * 50, "長い" * 40),
)
ARCHIVE = "/archive"
LAYOUTS: dict[str, Partition | None] = {
    "flat": None,
    "label": Partition(by="label"),
    "prefix": Partition(by="prefix", roots=(ARCHIVE,)),
}


def table(names: Sequence[str | None] = (*NAMES, None), *, each: int = 2) -> pa.Table:
    """So many rows for each folder, which is also their label; None: in no folder."""
    rows = [
        {
            "path": f"{ARCHIVE}/{name}/{number}.png" if name is not None else f"/archive/{number}",
            "label": name,
            "prediction": "opacity",
            "probability": 0.75,
            "width": 60,
            "height": 40,
            "model": "covid",
            "run_id": "run",
            "scored_at": datetime(2026, 11, 28, 7, tzinfo=UTC),
        }
        for name in names
        for number in range(each)
    ]
    return pa.Table.from_pylist(rows, schema.predictions(2))


def write(run: Path, rows: pa.Table, layout: str, *, rows_per_file: int = 16) -> Path:
    """Write rows as a job does; returns the folder of the parts."""
    writer = predictions.Writer(
        str(run), {}, rows_per_file=rows_per_file, partition=LAYOUTS[layout]
    )
    with writer:
        writer.add(rows)
    return run / predictions.FOLDER


def without_session(rows: pa.Table) -> pa.Table:
    """Rows without what differs between two sessions with the same scores."""
    return rows.select([name for name in rows.column_names if name not in ("run_id", "scored_at")])
