"""`--exclude`: images that a job leaves out, by patterns for their paths."""

import logging
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import globs
from cnnjobs.config.printable import printable
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem

_log = logging.getLogger(__name__)


def are_excluded(inside: pa.ChunkedArray, patterns: Sequence[str]) -> pa.ChunkedArray:
    """Which paths, given below their root, match a pattern or lie in a folder that does."""
    return pc.match_substring_regex(inside, globs.regex(patterns))


def without(manifest: Manifest, patterns: Sequence[str], name: str) -> Manifest:
    """The manifest without the images that match, below the sources it was made from.

    Raises:
        InputError: none would be left.
    """
    if not patterns:
        return manifest
    table = manifest.table
    excluded = are_excluded(inside_of(table["path"], manifest.settings["sources"]), patterns)
    kept = table.filter(pc.invert(excluded))
    number = table.num_rows - kept.num_rows
    if not kept.num_rows:
        raise InputError(f"exclude {', '.join(patterns)} leaves no image of {name}.")
    if not number:
        _log.warning("%s", unmatched(patterns))
    settings = {
        **manifest.settings,
        "exclude": [*manifest.settings.get("exclude", []), *patterns],
        "ignored": dict(Counter(manifest.settings["ignored"]) + Counter(excluded=number)),
    }
    return Manifest(kept, settings)


def unmatched(patterns: Sequence[str]) -> str:
    """A warning that nothing is excluded."""
    return f"exclude {printable(', '.join(patterns))} matches no file."


def inside_of(paths: pa.ChunkedArray, roots: Sequence[str]) -> pa.ChunkedArray:
    """Each path below the innermost root that it is in."""
    inside = paths
    for root in sorted(roots, key=len):
        start = filesystem.join(root, "")
        below = pc.utf8_slice_codeunits(paths, len(start))
        inside = pc.if_else(pc.starts_with(paths, start), below, inside)
    return inside
