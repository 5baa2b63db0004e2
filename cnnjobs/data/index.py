"""`cnnjobs index`: list images once, label, group and split them, and write a manifest."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.config import IndexConfig, constants
from cnnjobs.data import (
    dataset_summary,
    hashed_paths,
    image_counts,
    image_listing,
    manifest,
    manifest_file,
    streamed,
)
from cnnjobs.data.images import Images
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.sources import Indexed, Noticed, Rules, index_sources
from cnnjobs.data.tables import TableRules
from cnnjobs.data.tables.columns import NONE, ROLES
from cnnjobs.data.update import survey, update_sources
from cnnjobs.errors import InputError, RunExistsError, StorageError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, s3

#: Ends of names that are no folders.
_OTHER_FILES = tuple(
    f".{end}" for end in ("csv", "tsv", "txt", "json", "jsonl", "xlsx", "feather", "arrow", "pq")
)

#: Smallest size of the key that hashes patients, as recommended for HMAC-SHA256 (RFC 2104).
_KEY_BYTES = 32


_Facts = Mapping[str, str | int | Sequence[str] | Mapping[str, str]]

#: What tables gave, see `tables.applied`.
TableReport = Mapping[str, str | Sequence[str] | Mapping[str, int | Sequence[str] | _Facts] | None]


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What to know about a manifest before training on it.

    `counts` are by class and split, `sources` by source and class. After an update, `update` has
    how many images are new, changed, opened again, gone and unchanged, and only copies of or among
    the opened ones are counted. `table` is what tables gave (`tables.applied`), if there are any.
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
    update: Mapping[str, int] | None = None
    table: TableReport | None = None


def plan(config: IndexConfig) -> dict[str, Any]:
    """The plan for `--dry-run`: only the listing; no file is opened and nothing is written.

    Raises:
        InputError: see `index`.
    """
    s3.use(**config.s3)
    output = _free_output(config)
    before, rules = _before(config, output), _rules(config)
    if before is None:
        rules.update(shares=None, content=False)
    images: Images
    if before is None or _is_streamed(config, before, rules):
        images, noticed, changes = _indexed(config, before, rules, silent)
        ignored, warnings, report = noticed.ignored, noticed.warnings, noticed.table
    else:
        how, listing, difference = survey(_held(before), config.sources, **rules)
        images, changes = Manifest(listing.rows, {}), dict(difference.counts)
        ignored, report = dict(listing.ignored), listing.table
        warnings = image_listing.warnings(listing, how.exclude)
    labels = image_counts.by_label(images)
    return {
        "images": labels.total(),
        "labels": dict(labels),
        "ignored files": dict(ignored),
        "warnings": list(warnings),
        "update": changes,
        **({"table": report} if report is not None else {}),
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
    before = _before(config, output)
    images, noticed, changes = _indexed(config, before, _rules(config), progress)
    if isinstance(noticed, Indexed):
        noticed = _hashed(config, noticed)
        images = noticed.manifest
    images.write(output)
    counts = image_counts.of(images)
    return IndexSummary(
        manifest=output,
        fingerprint=images.fingerprint,
        num_images=images.count("all"),
        num_unlabelled=counts.num_unlabelled,
        num_groups=image_counts.num_groups(images),
        counts=counts.by_label,
        sources=counts.by_source,
        warnings=[
            *noticed.warnings,
            *_unused_groups(config, images.settings["sources"], noticed),
            *dataset_summary.source_warnings(counts.by_source),
        ],
        unreadable=counts.unreadable,
        ignored=noticed.ignored,
        left_out=noticed.left_out,
        num_exact_copies=noticed.num_exact_copies,
        num_near_copies=noticed.num_near_copies,
        mixed_labels=noticed.mixed_labels,
        update=changes,
        table=noticed.table,
    )


def _indexed(
    config: IndexConfig,
    before: Manifest | ManifestFile | None,
    rules: Mapping[str, Any],
    progress: Progress,
) -> tuple[Images, Noticed, Mapping[str, int] | None]:
    """The images of the sources, what was noticed, and the counts of an update of `before`.

    Held in memory only where the rules need all of the images at once.
    """
    if _is_streamed(config, before, rules):
        how = Rules(**rules)
        if isinstance(before, ManifestFile):
            return streamed.update(before, config.sources, how, progress)
        return *streamed.index(config.sources, how, progress), None
    if before is None:
        indexed, changes = index_sources(config.sources, progress=progress, **rules), None
    else:
        held = _held(before)
        indexed, changes = update_sources(held, config.sources, progress=progress, **rules)
    return indexed.manifest, indexed, changes


def _is_streamed(
    config: IndexConfig, before: Manifest | ManifestFile | None, rules: Mapping[str, Any]
) -> bool:
    is_in_file = before is None or isinstance(before, ManifestFile)
    return is_in_file and config.hash_paths is None and streamed.is_possible(Rules(**rules))


def _held(images: Manifest | ManifestFile) -> Manifest:
    return images if isinstance(images, Manifest) else manifest.read(images.uri)


def _hashed(config: IndexConfig, indexed: Indexed) -> Indexed:
    """The manifest under the names that the config asks for."""
    if config.hash_paths is None or config.group_key is None:
        return indexed
    folder = filesystem.normalize(config.hash_paths)
    apart.check(folder, config.sources)
    return hashed_paths.replaced(indexed, folder, _read_key(config.group_key))


def _before(config: IndexConfig, output: str) -> Manifest | ManifestFile | None:
    """The manifest to update."""
    if not config.update or not filesystem.exists(output):
        return None
    before = manifest_file.opened(output)
    if hashed_paths.SETTING in before.settings:
        raise InputError(f"{output} has hashed paths, which cannot be updated; use --overwrite.")
    return before


def _rules(config: IndexConfig) -> dict[str, Any]:
    return {
        "labels": config.labels,
        "table": _table_rules(config),
        "groups": config.groups,
        "group_regex": config.group_regex,
        "groups_missing": config.groups_missing,
        "source_regex": config.source_regex,
        "shares": _shares(config) if config.split else None,
        "content": config.content,
        "suffixless": config.content,
        "any_modality": config.any_modality,
        "max_bytes": config.max_bytes,
        "group_key": _read_key(config.group_key) if config.group_key is not None else None,
        "exclude": config.exclude,
        "allowed_root": config.allowed_root,
        "seed": config.seed,
    }


def _table_rules(config: IndexConfig) -> TableRules | None:
    """How to take labels and more from the config's tables; None without any."""
    if not config.table:
        return None
    columns = {role: getattr(config, f"{role}_column") for role in ROLES}
    elsewhere = {
        "label": not config.labels,
        "group": bool(config.groups) or config.group_regex is not None,
        "source": config.source_regex is not None,
    }
    columns = {
        role: name
        for role, name in columns.items()
        if name != NONE and not elsewhere.get(role, False)
    }
    return TableRules(
        files=config.table,
        columns=columns,
        map=config.map,
        where=config.where,
        positive_when=config.positive_when if config.labels else None,
        negative_when=config.negative_when if config.labels else None,
        uncertain=config.uncertain,
        keep=config.keep,
        dicom_key=config.dicom_key,
        max_unmatched=config.max_unmatched,
    )


def _unused_groups(config: IndexConfig, roots: Sequence[str], noticed: Noticed) -> list[str]:
    """Files of groups beside the images, if groups come from nowhere else."""
    files = (noticed.table or {}).get("files", {}).values()
    if config.groups or config.group_regex or any("group" in file["columns"] for file in files):
        return []
    found = []
    for root in roots:
        for folder in (root, root.rpartition("/")[0]):
            file = filesystem.join(folder, "groups.csv")
            # where it is not allowed to look, there is nothing to mention
            with contextlib.suppress(StorageError):
                if folder not in ("", "s3:/") and filesystem.is_file(file):
                    found.append(file)
    return [
        f"{file} is not used; add --groups {file} to keep the images of a patient together"
        for file in dict.fromkeys(found)
    ]


def _free_output(config: IndexConfig) -> str:
    output = filesystem.normalize(config.output)
    if output.lower().endswith(_OTHER_FILES) and not filesystem.exists(output):
        raise InputError(
            f"output {config.output} names a file of another kind; a manifest is Parquet, give "
            "FILE.parquet or a folder."
        )
    files = [*config.table, *(file.rpartition("=")[2] for file in config.groups)]
    if not output.endswith(".parquet"):
        output = filesystem.join(output, "manifest.parquet")
    apart.check(output, [*config.sources, *files, config.group_key])
    if filesystem.exists(output):
        if not (config.overwrite or config.update):
            raise RunExistsError(
                f"{output} already exists; add --update or --overwrite, or choose another name."
            )
        # only a manifest is replaced; `_before` opens one to update
        if config.overwrite:
            manifest_file.opened(output)
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
