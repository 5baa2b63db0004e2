"""The manifest: a Parquet table of images, one row an image, that every job reads."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnnjobs import schema, storage
from cnnjobs.errors import ManifestError

_METADATA = b"cnnjobs"


@dataclass(frozen=True)
class Manifest:
    """The table (`schema.MANIFEST`) and how it was made (sources, seed, shares of the splits)."""

    table: pa.Table
    settings: Mapping[str, Any]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any image, label, group or split, not with row order."""
        columns = ["path", "size_bytes", "modified", "etag", "content_hash"]
        columns += ["label", "group", "split"]
        rows = self.table.select(columns).sort_by("path").to_pydict()
        digest = hashlib.sha256()
        for row in zip(*rows.values(), strict=True):
            digest.update(repr(row).encode())
        return digest.hexdigest()[:16]

    @property
    def labels(self) -> list[str]:
        """The classes that occur, sorted."""
        return sorted(pc.unique(self.table["label"]).drop_null().to_pylist())

    def select(self, split: str) -> pa.Table:
        """The rows of one split, or of all with `all`, in the manifest's order.

        Raises:
            ManifestError: there are none.
        """
        if split == "all":
            rows = self.table
        else:
            rows = self.table.filter(pc.equal(self.table["split"], split))
        if rows.num_rows == 0:
            raise ManifestError(
                f"the manifest has no images in split {split} (it has {_counts(self.table)}); "
                "index labelled images with splits, or choose another split."
            )
        return rows


def write(manifest: Manifest, uri: str) -> None:
    """Write the manifest as one Parquet file, whole or not at all."""
    metadata = {
        _METADATA: json.dumps(
            {"manifest_version": schema.MANIFEST_VERSION, "settings": dict(manifest.settings)}
        )
    }
    storage.write_table(uri, manifest.table.replace_schema_metadata(metadata))


def read(uri: str) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: the file is no Parquet, no manifest, or of another schema version.
    """
    try:
        data = storage.read_file(uri)
    except FileNotFoundError as error:
        raise ManifestError(f"{uri} does not exist.") from error
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowInvalid) as error:
        raise ManifestError(f"{uri} is not a readable Parquet file; index it again.") from error
    described = (table.schema.metadata or {}).get(_METADATA)
    if described is None:
        raise ManifestError(f"{uri} is a Parquet file but no manifest; make one: cnnjobs index.")
    info = json.loads(described)
    version = info.get("manifest_version")
    if version != schema.MANIFEST_VERSION:
        raise ManifestError(
            f"{uri} is a manifest of schema version {version}, this cnnjobs reads version "
            f"{schema.MANIFEST_VERSION}; index it again."
        )
    try:
        table = table.replace_schema_metadata(None).cast(schema.MANIFEST)
    except (ValueError, pa.ArrowException) as error:
        raise ManifestError(f"{uri} has other columns than a manifest; index it again.") from error
    return Manifest(table, info["settings"])


def _counts(table: pa.Table) -> str:
    counts = pc.value_counts(table["split"].fill_null("no split")).to_pylist()
    return ", ".join(f"{item['counts']} in {item['values']}" for item in counts) or "no rows"
