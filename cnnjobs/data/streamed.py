"""Images of any number: manifests that stay in their files, and listings that go to one."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from cnnjobs import schema
from cnnjobs.data import allowed_roots, file_checks, image_listing, manifest_file, sources
from cnnjobs.data.exclude import rest, settings_without
from cnnjobs.data.image_listing import LeftOut
from cnnjobs.data.images import Images
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.sources import Noticed, Rules
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem


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
