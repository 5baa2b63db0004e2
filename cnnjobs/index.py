"""`cnnjobs index`: list images once, label, group and split them, into a manifest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs import manifest, storage, words
from cnnjobs.config import IndexConfig
from cnnjobs.errors import RunExistsError
from cnnjobs.progress import Progress, silent
from cnnjobs.sources import index_sources


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What a user wants to know of a manifest before training on it."""

    manifest: str
    fingerprint: str
    num_images: int
    num_unlabelled: int
    num_groups: int
    counts: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    ignored: Mapping[str, int]
    num_exact_copies: int
    num_near_copies: int
    mixed_labels: Sequence[Sequence[str]]


def plan(config: IndexConfig) -> dict[str, Any]:
    """What `--dry-run` tells: the listing alone, no file opened, nothing written.

    Raises:
        InputError: see `index`.
    """
    output = _free_output(config)
    listed = index_sources(config.sources, labels=config.labels, shares=None, content=False)
    labels = Counter(listed.manifest.table["label"].to_pylist())
    return {
        "images": listed.manifest.table.num_rows,
        "labels": {label or "no label": number for label, number in labels.items()},
        "ignored files": dict(listed.ignored),
        "output": output,
    }


def index(config: IndexConfig, progress: Progress = silent) -> IndexSummary:
    """Write the manifest of the config's sources and count what is in it.

    Raises:
        RunExistsError: there is a manifest already and `overwrite` is off.
        InputError: see `sources.index_sources`.
    """
    output = _free_output(config)
    indexed = index_sources(
        config.sources,
        labels=config.labels,
        groups=config.groups,
        group_regex=config.group_regex,
        shares=_shares(config) if config.split else None,
        content=config.content,
        seed=config.seed,
        progress=progress,
    )
    manifest.write(indexed.manifest, output)
    rows = indexed.manifest.table.select(["path", "label", "split", "group", "error"]).to_pylist()
    counts: dict[str, Counter[str]] = {label: Counter() for label in indexed.manifest.labels}
    for row in rows:
        if row["label"] is not None:
            state = "unreadable" if row["error"] is not None else row["split"] or "no split"
            counts[row["label"]][state] += 1
    return IndexSummary(
        manifest=output,
        fingerprint=indexed.manifest.fingerprint,
        num_images=len(rows),
        num_unlabelled=sum(row["label"] is None for row in rows),
        num_groups=len({row["group"] for row in rows if row["error"] is None}),
        counts={label: dict(states) for label, states in counts.items()},
        unreadable={row["path"]: row["error"] for row in rows if row["error"] is not None},
        ignored=indexed.ignored,
        num_exact_copies=indexed.num_exact_copies,
        num_near_copies=indexed.num_near_copies,
        mixed_labels=indexed.mixed_labels,
    )


def _free_output(config: IndexConfig) -> str:
    output = storage.normalize(config.output)
    if not output.endswith(".parquet"):
        output = storage.join(output, "manifest.parquet")
    if storage.exists(output) and not config.overwrite:
        raise RunExistsError(f"{output} exists already; choose another name or add --overwrite.")
    storage.check_writable(output.rpartition("/")[0])
    return output


def _shares(config: IndexConfig) -> dict[str, float]:
    train = 1 - config.validation - config.test
    return {words.TRAIN: train, words.VALIDATION: config.validation, words.TEST: config.test}
