"""`cnnjobs index`: list images once, label, group and split them, and write a manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import IndexConfig, constants
from cnnjobs.data import dataset_summary, manifest
from cnnjobs.data.sources import index_sources
from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, s3

#: Smallest size of the key that hashes patients, as recommended for HMAC-SHA256 (RFC 2104).
_KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What to know about a manifest before training on it.

    `counts` are by class and split, `sources` by source and class.
    """

    manifest: str
    fingerprint: str
    num_images: int
    num_unlabelled: int
    num_groups: int
    counts: Mapping[str, Mapping[str, int]]
    sources: Mapping[str, Mapping[str, int]]
    warnings: Sequence[str]
    unreadable: Mapping[str, str]
    ignored: Mapping[str, int]
    left_out: Mapping[str, str]
    num_exact_copies: int
    num_near_copies: int
    mixed_labels: Sequence[Sequence[str]]


def plan(config: IndexConfig) -> dict[str, Any]:
    """The plan for `--dry-run`: only the listing; no file is opened and nothing is written.

    Raises:
        InputError: see `index`.
    """
    s3.use(**config.s3)
    output = _free_output(config)
    listed = index_sources(
        config.sources,
        labels=config.labels,
        shares=None,
        content=False,
        suffixless=config.content,
        exclude=config.exclude,
    )
    labels = pc.value_counts(listed.manifest.table["label"].fill_null("no label")).to_pylist()
    return {
        "images": listed.manifest.table.num_rows,
        "labels": {item["values"]: item["counts"] for item in labels},
        "ignored files": dict(listed.ignored),
        "warnings": list(listed.warnings),
        "output": output,
    }


def index(config: IndexConfig, progress: Progress = silent) -> IndexSummary:
    """Write the manifest of the config's sources and count what it contains.

    Raises:
        RunExistsError: a manifest already exists and `overwrite` is off.
        InputError: see `sources.index_sources`.
    """
    s3.use(**config.s3)
    output = _free_output(config)
    indexed = index_sources(
        config.sources,
        labels=config.labels,
        groups=config.groups,
        group_regex=config.group_regex,
        source_regex=config.source_regex,
        shares=_shares(config) if config.split else None,
        content=config.content,
        suffixless=config.content,
        any_modality=config.any_modality,
        max_bytes=config.max_bytes,
        group_key=_read_key(config.group_key) if config.group_key is not None else None,
        exclude=config.exclude,
        seed=config.seed,
        progress=progress,
    )
    manifest.write(indexed.manifest, output)
    table = indexed.manifest.table
    by_source = _by_source(table)
    bad = table.select(["path", "error"]).filter(pc.is_valid(table["error"]))
    return IndexSummary(
        manifest=output,
        fingerprint=indexed.manifest.fingerprint,
        num_images=table.num_rows,
        num_unlabelled=table["label"].null_count,
        num_groups=pc.count_distinct(table["group"].filter(pc.is_null(table["error"]))).as_py(),
        counts=_counts(table),
        sources=by_source,
        warnings=[*indexed.warnings, *dataset_summary.source_warnings(by_source)],
        unreadable=dict(zip(bad["path"].to_pylist(), bad["error"].to_pylist(), strict=True)),
        ignored=indexed.ignored,
        left_out=indexed.left_out,
        num_exact_copies=indexed.num_exact_copies,
        num_near_copies=indexed.num_near_copies,
        mixed_labels=indexed.mixed_labels,
    )


def _counts(table: pa.Table) -> dict[str, dict[str, int]]:
    """Images of each label by split, or by the reason why they have none."""
    state = pc.if_else(
        pc.is_valid(table["error"]), "unreadable", pc.fill_null(table["split"], "no split")
    )
    return _crossed(table["label"], state)


def _by_source(table: pa.Table) -> dict[str, dict[str, int]]:
    """Readable images of each source by label."""
    is_usable = pc.is_null(table["error"])
    return _crossed(table["source"].filter(is_usable), table["label"].filter(is_usable))


def _crossed(first: pa.ChunkedArray, second: pa.ChunkedArray) -> dict[str, dict[str, int]]:
    """How often each pair of values occurs in a row; rows that lack one do not count."""
    pairs = pa.table({"first": first, "second": second}).drop_null()
    found = pairs.group_by(["first", "second"]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in found.sort_by([("first", "ascending"), ("second", "ascending")]).to_pylist():
        counts.setdefault(row["first"], {})[row["second"]] = row["count_all"]
    return counts


def _free_output(config: IndexConfig) -> str:
    output = filesystem.normalize(config.output)
    if not output.endswith(".parquet"):
        output = filesystem.join(output, "manifest.parquet")
    apart.check(output, [*config.sources, config.groups, config.group_key])
    if filesystem.exists(output):
        if not config.overwrite:
            raise RunExistsError(
                f"{output} already exists; choose another name or add --overwrite."
            )
        # only a manifest is replaced
        manifest.read(output)
    filesystem.check_writable(output.rpartition("/")[0])
    return output


def _read_key(file: str) -> bytes:
    """The key that hashes patients, which must be too long to be guessed."""
    try:
        key = filesystem.read_file(filesystem.normalize(file))
    except FileNotFoundError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise InputError(
            f"group_key {file} must be a file of at least {_KEY_BYTES} bytes; create one with "
            f"head -c {_KEY_BYTES} /dev/urandom > {file}."
        )
    return key


def _shares(config: IndexConfig) -> dict[str, float]:
    train = 1 - config.validation - config.test
    return {
        constants.TRAIN: train,
        constants.VALIDATION: config.validation,
        constants.TEST: config.test,
    }
