"""`--exclude`: images that a job leaves out, by patterns for their paths."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import globs
from cnnjobs.config.printable import printable
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.storage import archives, filesystem

_log = logging.getLogger(__name__)


def are_excluded(below: pa.ChunkedArray, patterns: Sequence[str]) -> pa.ChunkedArray:
    """Which paths, given below their root, match a pattern or lie in a folder that does.

    A pattern may take an archive for a folder or leave it out.
    """
    found = [
        pc.match_substring_regex(paths, globs.regex(patterns))
        for paths in (archives.as_folders(below), archives.without_archives(below))
    ]
    return pc.or_(*found)


def without(manifest: Manifest, patterns: Sequence[str], name: str) -> Manifest:
    """The manifest without the images that match, below the sources it was made from.

    Raises:
        InputError: none would be left.
    """
    if not patterns:
        return manifest
    kept = rest(manifest.table, manifest.settings, patterns)
    number = manifest.table.num_rows - kept.num_rows
    settings = settings_without(manifest.settings, patterns, name, number, kept.num_rows)
    return Manifest(kept, settings)


def rest(rows: pa.Table, settings: Mapping[str, Any], patterns: Sequence[str]) -> pa.Table:
    """The rows of a manifest, made with these settings, that do not match."""
    return rows.filter(pc.invert(are_excluded(below(rows["path"], settings["sources"]), patterns)))


def settings_without(
    settings: Mapping[str, Any], patterns: Sequence[str], name: str, number: int, left: int
) -> dict[str, Any]:
    """The settings of a manifest from which so many images were excluded; warns if none were.

    Raises:
        InputError: none are left.
    """
    if not left:
        raise InputError(f"exclude {', '.join(patterns)} leaves no image of {name}.")
    if not number:
        _log.warning("%s", unmatched(patterns))
    return {
        **settings,
        "exclude": [*settings.get("exclude", []), *patterns],
        "ignored": dict(Counter(settings["ignored"]) + Counter(excluded=number)),
    }


def unmatched(patterns: Sequence[str]) -> str:
    """A warning that nothing is excluded."""
    return f"exclude {printable(', '.join(patterns))} matches no file."


def inside_of(paths: pa.ChunkedArray, roots: Sequence[str]) -> pa.ChunkedArray:
    """Each path below the innermost root that it is in, where an archive is a folder."""
    return archives.as_folders(below(paths, roots))


def below(paths: pa.ChunkedArray, roots: Sequence[str]) -> pa.ChunkedArray:
    """Each path without the innermost root that it is in: a folder, a prefix or an archive."""
    found = paths
    for root in sorted(roots, key=len):
        for start in (filesystem.join(root, ""), f"{root}{archives.SEPARATOR}"):
            rest = pc.utf8_slice_codeunits(paths, len(start))
            found = pc.if_else(pc.starts_with(paths, start), rest, found)
    return found
