"""Images of any number: manifests that stay in their files, and listings that go to one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import schema
from cnnjobs.data import (
    allowed_roots,
    differences,
    external_sort,
    file_checks,
    image_listing,
    manifest_file,
    sources,
)
from cnnjobs.data.exclude import rest, settings_without
from cnnjobs.data.image_listing import LeftOut
from cnnjobs.data.images import Images
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.sources import Noticed, Rules
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem

#: A column that no manifest has: the place in a listing.
_NUMBER = pa.field("cnnjobs.number", pa.int64())


def open_images(
    data: str,
    *,
    exclude: Sequence[str] = (),
    allowed_root: Sequence[str] = (),
    progress: Progress = silent,
) -> Images:
    """The images of DATA, to be scored.

    A manifest that `cnnjobs` has written stays in its file, and a listing goes to a temporary one;
    other manifests are held in memory.

    Args:
        data: a manifest, a folder, an S3 prefix or an archive.
        exclude: patterns for images to leave out, see `globs.regex`.
        allowed_root: folders and prefixes that every image must be below, see `allowed_roots`.
        progress: reports the images listed.

    Raises:
        ManifestError: the manifest is damaged, or has an image twice.
        InputError: there are no images, or one is not below the allowed roots.
        StorageError: S3 does not allow the images to be read.
    """
    data = filesystem.normalize(data)
    if not sources.is_manifest(data):
        how = Rules(shares=None, content=False, exclude=exclude, allowed_root=allowed_root)
        listed, noticed = index([data], how, progress)
        sources.log_warnings(noticed)
        return listed
    images = manifest_file.find(data)
    if images is None:
        return sources.open_data(
            data,
            for_training=False,
            exclude=exclude,
            allowed_root=allowed_root,
            progress=progress,
        )
    images = _without(images, exclude)
    _check(images, allowed_root)
    return images


def is_possible(how: Rules) -> bool:
    """Whether a manifest by these rules needs no more than one image at a time."""
    is_alone = not how.groups and how.group_regex is None and how.source_regex is None
    has_no_splits = how.shares is None or not how.labels
    return is_alone and has_no_splits and how.table is None and not how.content


def index(roots: Sequence[str], how: Rules, progress: Progress) -> tuple[ManifestFile, Noticed]:
    """Like `sources.index_sources`, by rules that make it possible; each image is its own group."""
    named = image_listing.name_sources(roots)
    left_out = LeftOut(roots=list(named.values()))

    def tables() -> Iterator[pa.Table]:
        for listed in image_listing.list_tables(named, left_out, **how.listing, progress=progress):
            rows = sources.with_columns(listed)
            yield rows.select(schema.MANIFEST.names).cast(schema.MANIFEST)

    images = manifest_file.written(
        " and ".join(left_out.roots),
        tables(),
        schema.MANIFEST,
        lambda: how.settings(left_out),
        twice=image_listing.in_two,
    )
    _check(images, how.allowed_root)
    return images, Noticed(
        ignored=dict(left_out.ignored),
        left_out=left_out.left_out,
        warnings=image_listing.warnings(left_out, how.exclude),
    )


def update(
    before: ManifestFile, roots: Sequence[str], how: Rules, progress: Progress
) -> tuple[ManifestFile, Noticed, Mapping[str, int]]:
    """Like `update.update_sources`, by rules that make it possible.

    The rows are in the order in which they are listed; those that stay, although their folder
    cannot be listed now, are among or after them.
    """
    how = differences.rules_of(before.settings, roots, how)
    now, noticed = index(roots, how, progress)
    kind = before.columns
    counts: Counter[str] = Counter()

    def merged() -> Iterator[pa.Table]:
        listed = _numbered(now)
        streams = (
            before.ordered(kind.names),
            listed if now.is_sorted else external_sort.by_path(listed),
        )
        none = (kind.empty_table(), now.columns.append(_NUMBER).empty_table())
        for tables in external_sort.aligned(*streams):
            old, new = (
                empty if rows is None else rows for rows, empty in zip(tables, none, strict=True)
            )
            difference = differences.between(old, new, now.settings["unlisted"])
            counts.update(difference.counts)
            place = pc.index_in(difference.kept["path"], value_set=new["path"])
            number = pc.fill_null(new[_NUMBER.name].take(place), np.iinfo(np.int64).max)
            kept = difference.kept.append_column(_NUMBER, number)
            rows = pa.concat_tables([kept, difference.fresh], promote_options="default")
            yield rows.sort_by("path")

    def tables() -> Iterator[pa.Table]:
        rows = merged() if now.is_sorted else external_sort.by(_NUMBER.name, merged())
        for each in rows:
            yield each.select(kind.names).cast(kind)

    images = manifest_file.written(before.uri, tables(), kind, lambda: now.settings)
    num_old, num_now = before.count("all"), now.count("all")
    differences.check_same_archive(counts, num_old, num_now, before.settings)
    return images, noticed, dict(counts)


def _numbered(images: ManifestFile) -> Iterator[pa.Table]:
    """The rows with their places."""
    number = 0
    for rows in images.rows("all", images.columns.names):
        places = np.arange(number, number + rows.num_rows)
        yield rows.append_column(_NUMBER, pa.array(places))
        number += rows.num_rows


def _check(images: ManifestFile, allowed_root: Sequence[str]) -> None:
    allowed_roots.check((rows["path"] for rows in images.rows("all", ["path"])), allowed_root)
    file_checks.check_readable(images.sample)


def _without(images: ManifestFile, patterns: Sequence[str]) -> ManifestFile:
    """Like `exclude.without`."""
    if not patterns:
        return images
    kind = images.columns
    num_kept = 0

    def kept() -> Iterator[pa.Table]:
        nonlocal num_kept
        for rows in images.rows("all", kind.names):
            left = rest(rows, images.settings, patterns)
            num_kept += left.num_rows
            yield left

    number = images.count("all")
    return manifest_file.written(
        images.uri,
        kept(),
        kind,
        lambda: settings_without(
            images.settings, patterns, images.uri, number - num_kept, num_kept
        ),
    )
