"""Sections to one HTML file that loads nothing: style, script and images are embedded."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from cnnjobs.config.printable import printable_values
from cnnjobs.reporting.blocks import Section, Tile


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page.

    Attributes:
        title: the heading.
        subtitle: the line below it.
        verdict: of the audit; None without an audit.
        verdict_name: the verdict as a heading.
        line: the sentence beside the verdict.
        warnings: what is missing from the page.
        tiles: key figures.
        before: sections above the gallery.
        after: sections below it.
        gallery: the data of page.js, `images` and their labels; None for no gallery.
        gallery_text: which images are shown.
        footer: what made the page, and when.
    """

    title: str
    subtitle: str
    verdict: str | None
    verdict_name: str
    line: str
    warnings: Sequence[str]
    tiles: Sequence[Tile]
    before: Sequence[Section]
    after: Sequence[Section]
    gallery: Mapping[str, Any] | None
    gallery_text: str
    footer: str


def render(page: Page) -> str:
    """The page as HTML; all text in it is escaped, as are characters that are not printable."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = (_source(environment, name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        page=printable_values(page),
        # files of this package
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=_policy(style, script),
    )


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style and this script, and nothing else."""
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
