"""Text for people: numbers with their nouns, and nothing that can act on a terminal."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

_COLOR = re.compile(r"\x1b\[[\d;]*m")


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 image`, `12,345 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str, *, lines: bool = False) -> str:
    """The text with control characters, bidi overrides and bytes that are not UTF-8 escaped.

    Names of files may contain all of these. With `lines`, newlines and tabs are layout and stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or (lines and character in "\n\t")
        else _escaped(character)
        for character in text
    )


def printable_log(text: str) -> str:
    """Output of another program: its colors are dropped, its lines stay."""
    return printable(_COLOR.sub("", text).replace("\r\n", "\n"), lines=True)


def printable_values(value: Any) -> Any:
    """A summary with every text in it escaped, in lists, mappings and dataclasses."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable_values(key): printable_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([printable_values(item) for item in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        escaped = {
            field.name: printable_values(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **escaped)
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
