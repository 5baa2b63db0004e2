"""Arrow schemas of the tables, and the versions of all that is written."""

import pyarrow as pa

MANIFEST_VERSION = 1
PREDICTIONS_VERSION = 1
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


def predictions(num_labels: int) -> pa.Schema:
    """Schema of a prediction table for a model of `num_labels` classes.

    Two classes have one `probability`, that of the positive class; more have
    `probabilities`, one a label in the order of the bundle's `labels`.
    """
    if num_labels == 2:
        scores = pa.field("probability", pa.float32())
    else:
        scores = pa.field("probabilities", pa.list_(pa.float32()))
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("prediction", pa.string()),
            scores,
            pa.field("error", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("model", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
        ]
    )
