"""The images below folders and S3 prefixes, as far as a listing reveals them."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config import constants, globs
from cnnjobs.config.printable import counted
from cnnjobs.data import exclude, file_checks
from cnnjobs.errors import InputError
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import archives, filesystem
from cnnjobs.storage.archives import listing as archive_listing
from cnnjobs.storage.archives.listing import Notes

#: Why folders were not listed, other than an error.
HIDDEN, EXCLUDED = "hidden", "excluded"

#: So many folders are named in a warning.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What is below the roots besides images; complete once these have been listed.

    Attributes:
        roots: folders and prefixes.
        ignored: the number of other files by suffix, and of folders that were not listed.
        left_out: why, by path, for the folders that were not listed; those excluded are not named.
        damaged: why archives cannot be read, or not to their end, by path.
    """

    roots: Sequence[str]
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def unlisted(self) -> list[str]:
        """The folders and archives whose listing failed."""
        failed = [path for path, reason in self.left_out.items() if reason != HIDDEN]
        return [*failed, *self.damaged]


@dataclass(frozen=True, kw_only=True)
class Listing(LeftOut):
    """What is below the roots.

    Attributes:
        rows: one per image: what the listing has, `inside` (the path below its root, in which an
            archive is a folder), and label, source, group and split, null or as a default.
        table: what tables gave, if there are any; see `tables.applied`.
    """

    rows: pa.Table
    table: Mapping[str, Any] | None = None


def name_sources(sources: Sequence[str]) -> dict[str, str]:
    """The roots by a short name: the last part of each, or all of it if two would be the same."""
    roots = [filesystem.normalize(source) for source in sources]
    if len(set(roots)) != len(roots):
        raise InputError(f"a source is given twice: {', '.join(roots)}.")
    short = Counter(root.rsplit("/", 1)[-1] for root in roots)
    return {
        name if short[name] == 1 else root: root
        for root in roots
        for name in [root.rsplit("/", 1)[-1]]
    }


def list_images(roots: Mapping[str, str], **how: Any) -> Listing:
    """List the images of several sources at once; see `list_tables`.

    Raises:
        InputError: a source has no images, or shares some with another.
    """
    left_out = LeftOut(roots=list(roots.values()))
    table = pa.concat_tables(list_tables(roots, left_out, **how)).combine_chunks()
    if len(roots) > 1:
        counts = pc.value_counts(table["path"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            raise InputError(in_two(twice[0]["values"].as_py()))
    return Listing(**vars(left_out), rows=table)


def in_two(path: str) -> str:
    """What to say of an image that two sources share."""
    return f"{path} is in two sources; give sources that do not overlap."


def list_tables(
    roots: Mapping[str, str],
    left_out: LeftOut,
    *,
    labels: bool,
    suffixless: bool,
    excluded: Sequence[str] = (),
    known: pa.ChunkedArray | None = None,
    progress: Progress = silent,
) -> Iterator[pa.Table]:
    """List the images of several sources; hidden files and folders are never images.

    Args:
        roots: folder, prefix or archive by the name of the source.
        left_out: is added to.
        labels: take the class from the folder.
        suffixless: open files without a suffix, which may be DICOM.
        excluded: patterns for files and folders to leave out, see `globs.regex`.
        known: paths of files without a suffix that need not be opened, because they are images.
        progress: reports the images listed.

    Raises:
        InputError: a source has no images.
    """
    num_listed = 0
    notes = Notes(problems=left_out.damaged)
    ignored = left_out.ignored
    for source, root in roots.items():
        num_before, before = num_listed, ignored.total()

        def leave_out(path: str, reason: str) -> None:
            kind = reason if reason in (HIDDEN, EXCLUDED) else "unreadable"
            ignored[f"{kind} folders"] += 1
            if reason != EXCLUDED:
                left_out.left_out[path] = reason

        skip = _skipper(root, excluded)
        for listed in archive_listing.list_tables(root, notes, skip=skip, left_out=leave_out):
            images_of, others = _separate(
                listed, root, suffixless=suffixless, excluded=excluded, known=known
            )
            ignored.update(others)
            num_listed += images_of.num_rows
            yield _described(images_of, source, labels=labels)
            progress("list", num_listed, None)
        if num_listed == num_before:
            problems = {**left_out.left_out, **left_out.damaged}
            raise InputError(_no_images(root, ignored.total() - before, problems))
    ignored.update(notes.ignored)


def warnings(listing: LeftOut, excluded: Sequence[str]) -> list[str]:
    """What was left out and may be missed, one line each."""
    found = []
    if listing.left_out:
        number = counted(len(listing.left_out), "folder")
        found.append(f"left out {number}: {_named(listing.left_out)}")
    if listing.damaged:
        found.append(f"not read, or not to the end: {_named(listing.damaged)}")
    if excluded and not any(name.startswith(EXCLUDED) for name in listing.ignored):
        found.append(exclude.unmatched(excluded))
    return found


def _named(reasons: Mapping[str, str]) -> str:
    named = [f"{path} ({reason})" for path, reason in reasons.items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{', '.join(named[:_NAMED])}{more}"


def _skipper(root: str, excluded: Sequence[str]) -> Callable[[str], str | None]:
    """Why a folder is not listed, or an archive not opened, by its path."""
    start = len(filesystem.join(root, ""))
    pattern = re.compile(globs.regex(excluded)) if excluded else None

    def skip(path: str) -> str | None:
        if path.rsplit("/", 1)[-1].startswith((".", "__MACOSX")):
            return HIDDEN
        if pattern is not None and pattern.search(f"{path[start:]}/"):
            return EXCLUDED
        return None

    return skip


def _no_images(root: str, num_others: int, left_out: Mapping[str, str]) -> str:
    suffixes = ", ".join(constants.IMAGE_SUFFIXES)
    message = f"{root} holds no images ({suffixes}); it has {num_others} other files"
    first = next((f"{path} ({reason})" for path, reason in left_out.items()), None)
    return (
        f"{message}, and folders or archives that were left out, such as {first}."
        if first
        else f"{message}."
    )


def _separate(
    listed: pa.Table,
    root: str,
    *,
    suffixless: bool,
    excluded: Sequence[str],
    known: pa.ChunkedArray | None,
) -> tuple[pa.Table, Counter[str]]:
    """The images of a listing, with the column `inside`, and the other files by suffix."""
    below = exclude.below(listed["path"], [root])
    inner = archives.without_archives(below)
    listed = listed.append_column("inside", archives.as_folders(below)).append_column(
        "inner", inner
    )
    # files left by editors, notebooks and archivers are neither images nor classes
    # (keys on S3 may have the parts `.` and `..`)
    is_hidden = pc.match_substring_regex(inner, r"(^|/)(\.[^./]|\.\.[^/]|__MACOSX)")
    suffix = pc.struct_field(pc.extract_regex(inner, r"(?P<suffix>\.[^./]*)$"), [0])
    suffix = pc.utf8_lower(pc.if_else(is_hidden, HIDDEN, pc.fill_null(suffix, "no suffix")))
    if excluded:
        is_left_out = pc.and_not(exclude.are_excluded(below, excluded), is_hidden)
        suffix = pc.if_else(is_left_out, EXCLUDED, suffix)
    is_image = pc.is_in(suffix, value_set=pa.array(constants.IMAGE_SUFFIXES))
    is_row = pc.match_substring(
        listed["path"], f"{archives.PARQUET}{archives.SEPARATOR}", ignore_case=True
    )
    is_left = pc.is_in(suffix, value_set=pa.array([HIDDEN, EXCLUDED]))
    is_image = pc.or_(is_image, pc.and_not(is_row, is_left))
    if suffixless:
        is_bare = pc.and_not(pc.equal(suffix, "no suffix"), is_row)
        if known is not None:
            is_known = pc.and_(is_bare, pc.is_in(listed["path"], value_set=known))
            is_image = pc.or_(is_image, is_known)
            is_bare = pc.and_not(is_bare, is_known)
        is_image = pc.or_(is_image, file_checks.are_dicom(listed["path"], is_bare))
    others = pc.value_counts(suffix.filter(pc.invert(is_image))).to_pylist()
    return listed.filter(is_image), Counter({item["values"]: item["counts"] for item in others})


def _described(listed: pa.Table, source: str, *, labels: bool) -> pa.Table:
    """Listed images with label, source and a group each."""
    inside = listed["inside"]
    folder = pc.struct_field(pc.extract_regex(listed["inner"], r"^(?P<folder>[^/]+)/"), [0])
    none = pa.nulls(listed.num_rows, pa.string())
    return (
        listed.drop_columns("inner")
        .append_column("label", folder if labels else none)
        .append_column("source", pa.repeat(pa.scalar(source), listed.num_rows))
        .append_column("group", pc.binary_join_element_wise(source, inside, "/"))
        .append_column("split", none)
    )
