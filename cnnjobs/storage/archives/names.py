"""Names of archives and of what is in them: `ARCHIVE::NAME`.

Which `::` separates the two is not certain from a name alone: a file may be called
`a.tar::b.png`. The functions for columns take the first one that follows the suffix of an archive.
"""

import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

SEPARATOR = "::"

TAR, ZIP, PARQUET = ".tar", ".zip", ".parquet"

_ARCHIVE = r"(?i:\.(?:tar|zip|parquet))"
_COMPRESSED = re.compile(r"(?i)\.(tar\.(gz|bz2|xz|zst|lz4|Z)|tgz|tbz2?|txz|tzst)$")
_SPLIT = re.compile(rf"{_ARCHIVE}(?={SEPARATOR}.)")


def suffix(path: str) -> str | None:
    """Which of `TAR`, `ZIP` and `PARQUET` a file is, by its name; None for others."""
    ending = "." + path.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    return ending if ending in (TAR, ZIP, PARQUET) else None


def is_compressed_tar(path: str) -> bool:
    """Whether a file is a tar archive that is compressed as a whole, by its name."""
    return _COMPRESSED.search(path) is not None


def splits(path: str) -> Iterator[tuple[str, str]]:
    """The archive and the name in it, for each way to read the path; none for most paths."""
    if SEPARATOR in path:
        for match in _SPLIT.finditer(path):
            yield path[: match.end()], path[match.end() + len(SEPARATOR) :]


def archive_of(path: str) -> str:
    """The file that holds an image: its archive, or itself."""
    return next((archive for archive, _ in splits(path)), path)


def are_archives(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which files are archives, or compressed ones, by their names."""
    return pc.match_substring_regex(
        paths, rf"{_ARCHIVE}$|{_COMPRESSED.pattern.replace('(?i)', '(?i:', 1)})"
    )


def as_folders(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths in which an archive is one more folder: `a/b.tar::c/d.png` is `a/b.tar/c/d.png`."""
    return _replaced(paths, rf"^(.*?{_ARCHIVE}){SEPARATOR}", r"\1/")


def without_archives(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths in which an archive is no folder: `a/b.tar::c/d.png` is `a/c/d.png`."""
    return _replaced(paths, rf"^((?:[^/]*/)*?)[^/]*?{_ARCHIVE}{SEPARATOR}", r"\1")


def inside(path: str) -> str | None:
    """A member's name as a path below its archive; None if it is outside, empty or not a name."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        return None
    return "/".join(parts) or None


def _replaced(paths: pa.ChunkedArray, pattern: str, replacement: str) -> pa.ChunkedArray:
    # most listings have no archives: looking for the text is ten times as fast
    if not pc.any(pc.match_substring(paths, SEPARATOR)).as_py():
        return paths
    return pc.replace_substring_regex(paths, f"(?s){pattern}", replacement, max_replacements=1)
