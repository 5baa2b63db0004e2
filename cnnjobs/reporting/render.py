"""Sections to one HTML file that loads nothing: style, script and pictures stand in it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from cnnjobs.reporting.blocks import Section, Tile


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the page tells.

    Attributes:
        title: the heading.
        subtitle: the line below it.
        verdict: of the audit, None where there was none.
        line: the sentence of the audit, which the page opens with.
        warnings: what the page could not tell.
        tiles: key figures.
        before: sections above the gallery.
        after: sections below it.
        gallery: what page.js shows: `images`, and what it must know of them; None for no gallery.
        gallery_text: which images are shown.
        made: by what, and when.
    """

    title: str
    subtitle: str
    verdict: str | None
    line: str
    warnings: Sequence[str]
    tiles: Sequence[Tile]
    before: Sequence[Section]
    after: Sequence[Section]
    gallery: Mapping[str, Any] | None
    gallery_text: str
    made: str


def render(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnnjobs", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = (_source(environment, name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        page=page, style=Markup(style), script=Markup(script), policy=_policy(style, script)
    )


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that lets this style and this script work, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
