"""What a page is made of, whatever it tells: the template knows these and nothing else."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture as a `data:` URI, with the words that stand in its place.

    One that `is_wide` has the page's whole width, and a small screen scrolls it.
    """

    uri: str
    alt: str
    caption: str
    is_wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What is folded away until it is asked for."""

    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page, in the order in which it is told.

    Attributes:
        name: the anchor.
        title: the heading.
        text: paragraphs.
        points: a list under them.
        warnings: sentences that must not be missed.
        facts: values by name.
        code: lines for a shell.
        tables: under the facts.
        figures: under the tables.
        details: at the end, folded.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    points: Sequence[str] = ()
    warnings: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    code: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    details: Sequence[Detail] = ()


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A key figure at the head of the page."""

    name: str
    value: str
    note: str


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as a URI that holds them; `kind` is the media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown(value: Any) -> str:
    """A value as a person reads it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{key} {shown(item)}" for key, item in value.items()) or "-"
        case list() | tuple():
            return ", ".join(shown(item) for item in value) or "-"
        case _:
            return str(value)
