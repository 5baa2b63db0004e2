"""Patterns for names, such as those of `--exclude`, as regular expressions."""

import re
from collections.abc import Sequence

_WILD = {"*": "[^/]*", "?": "[^/]"}
_PIECES = re.compile(r"\[([!^]?)([^\]]+)\]|(.)", re.DOTALL)
_SPECIAL = re.compile(r"([.^$+(){}|\\\[\]])")
_IN_CLASS = re.compile(r"([\\\[&~|^])")
_ESCAPE = r"\\\1"


def regex(patterns: Sequence[str]) -> str:
    """A regular expression for paths below a root that match one of the patterns, or lie in one.

    `*` and `?` stand for characters other than `/`, `[abc]` and `[!abc]` for one of these, `**` for
    any number of folders. A pattern with a `/` (other than at its end) is matched from the root,
    one without against every name in the path. With a `/` at its end it matches only folders. It
    is for RE2, and for Python if the path is a folder with a `/` at its end.
    """
    return f"(?s)^(?:{'|'.join(_one(pattern) for pattern in patterns)})"


def _one(pattern: str) -> str:
    parts = pattern.strip("/").split("/")
    anywhere = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    *folders, last = parts
    before = "".join("(?:.*/)?" if part == "**" else f"{_name(part)}/" for part in folders)
    # everything below a folder is in it
    end = "[^/]" if last == "**" else f"{_name(last)}{'/' if pattern.endswith('/') else '(?:/|$)'}"
    return f"{anywhere}{before}{end}"


def _name(pattern: str) -> str:
    """One name, without a slash."""
    pieces = []
    for negated, inside, other in _PIECES.findall(pattern):
        if inside:
            pieces.append(f"[{'^/' if negated else ''}{_IN_CLASS.sub(_ESCAPE, inside)}]")
        else:
            pieces.append(_WILD.get(other) or _SPECIAL.sub(_ESCAPE, other))
    return "".join(pieces)
