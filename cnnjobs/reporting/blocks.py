"""What a page is made of: the template knows these and nothing else."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header; the first cell of a row names it. Cells that are text wrap."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An image as a `data:` URI, with its alternative text.

    A figure that `is_wide` scrolls on small screens. A `is_chart` is inverted on dark screens,
    where photographs stay as they are.
    """

    uri: str
    alt: str
    caption: str
    is_wide: bool = False
    is_chart: bool = True


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Facts or a table that stay folded until opened."""

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    table: Table | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page; its attributes appear in this order.

    Attributes:
        name: the anchor.
        title: the heading.
        text: paragraphs.
        points: a bulleted list.
        warnings: highlighted sentences.
        facts: values by name.
        code: lines for a shell.
        tables: one or more tables.
        figures: one or more figures.
        details: folded facts and tables.
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
    """A key figure at the top of the page."""

    name: str
    value: str
    note: str


def data_uri(media_type: str, data: bytes) -> str:
    """A URI that contains the bytes."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def to_text(value: Any) -> str:
    """A value as people write it."""
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{key} {to_text(item)}" for key, item in value.items()) or "none"
        case list() | tuple():
            return ", ".join(to_text(item) for item in value) or "none"
        case _:
            return str(value)


def to_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value as people write it."""
    return {name: to_text(value) for name, value in values.items()}
