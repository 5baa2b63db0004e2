"""Arrow schemas of the tables, and the versions of everything written."""

from typing import TYPE_CHECKING

import pyarrow as pa

from cnnjobs.errors import InputError

if TYPE_CHECKING:
    import pandas

MANIFEST_VERSION = 1
BUNDLE_VERSION = 1
RUN_VERSION = 1

MANIFEST = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("etag", pa.string()),
        pa.field("group", pa.string()),
        pa.field("split", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("perceptual_hash", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("error", pa.string()),
    ]
)


def with_more(found: pa.Schema) -> pa.Schema:
    """The schema of a manifest with the columns that `found` has beyond it."""
    more = [field for field in found if field.name not in MANIFEST.names]
    return pa.schema([*MANIFEST, *more])


#: Columns of predictions that parts written by older versions lack.
ADDED_TO_PREDICTIONS = pa.schema(
    [
        pa.field("scored_at", pa.timestamp("us", tz="UTC")),
        pa.field("gone_at", pa.timestamp("us", tz="UTC")),
    ]
)

#: What it took to score a row, reported to the driver and never written.
MEASURES = pa.schema(
    [
        pa.field("read_seconds", pa.float32()),
        pa.field("decode_seconds", pa.float32()),
        pa.field("score_seconds", pa.float32()),
        # from when the scorer received its first block until it returned this row's block
        pa.field("working_seconds", pa.float64()),
        pa.field("retries", pa.int32()),
        pa.field("peak_memory_bytes", pa.int64()),
        # the error is not the image's: the row is not written, and the image is tried again
        pa.field("is_outage", pa.bool_()),
    ]
)


def predictions(num_labels: int, *, num_models: int = 1) -> pa.Schema:
    """Schema of a prediction table for a model with `num_labels` classes.

    Two classes have one `probability`, that of the positive class. More have `probabilities`, one
    per label in the order of the bundle's `labels`. For an ensemble these are means, and
    `by_model` holds those of each model in the order given.
    """
    if num_labels == 2:
        score, kind = "probability", pa.float32()
    else:
        score, kind = "probabilities", pa.list_(pa.float32())
    by_model = [pa.field("by_model", pa.list_(kind))] if num_models > 1 else []
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("prediction", pa.string()),
            pa.field(score, kind),
            *by_model,
            pa.field("error", pa.string()),
            pa.field("warning", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("model", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
            *ADDED_TO_PREDICTIONS,
        ]
    )


def to_pandas(table: pa.Table) -> "pandas.DataFrame":
    """The table as a DataFrame.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        return table.to_pandas()
    except ImportError as error:
        raise InputError(
            "pandas is not installed; use the Arrow table, or: pip install pandas."
        ) from error
