"""What `index --update` is about: how the files now differ from those of a manifest."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.constants import TRANSIENT_ERRORS
from cnnjobs.data import image_listing, manifest
from cnnjobs.data.image_listing import LeftOut
from cnnjobs.data.sources import Rules
from cnnjobs.errors import InputError

#: Settings that must not change; without `groups`, a group cannot be compared with those of before.
_SAME = ("group_regex", "source_regex", "shares", "seed", "content", "any_modality")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How the files differ from a manifest.

    Attributes:
        fresh: listed rows to open: new, changed, or unreadable for a reason that may be gone.
        kept: rows of the manifest that stay, also those in folders that cannot be listed now.
        counts: of the images that are new, changed, opened again, gone and unchanged.
    """

    fresh: pa.Table
    kept: pa.Table
    counts: Mapping[str, int]


def rules_of(settings: Mapping[str, Any], roots: Sequence[str], rules: Rules) -> Rules:
    """The rules to update a manifest by: those given, and what was excluded stays excluded.

    Args:
        settings: of the manifest.
        roots: folders and prefixes.
        rules: those given.

    Raises:
        InputError: the rules or the sources are not those of the manifest.
    """
    if not rules.exclude:
        rules = dataclasses.replace(rules, exclude=settings.get("exclude", ()))
    named = image_listing.name_sources(roots)
    _check_rules(settings, rules.settings(LeftOut(roots=list(named.values()))))
    return rules


def between(old: pa.Table, now: pa.Table, unlisted: Sequence[str]) -> Difference:
    """Compare rows of a manifest with the listed ones of the same paths; see `manifest.changes`."""
    changes = manifest.changes(old, now, unlisted=unlisted)
    is_gone = pc.is_in(old["path"], value_set=changes.gone)
    is_transient = pc.is_in(
        pc.replace_substring_regex(old["error"], ":.*", ""), value_set=pa.array(TRANSIENT_ERRORS)
    )
    is_there = pc.is_in(old["path"], value_set=now["path"])
    again = old.filter(pc.and_(is_transient, is_there))["path"].combine_chunks()
    again = again.filter(pc.invert(pc.is_in(again, value_set=changes.changed)))
    to_open = pa.concat_arrays([changes.new, changes.changed, again])
    is_kept = pc.and_not(pc.invert(is_gone), pc.is_in(old["path"], value_set=to_open))
    kept = old.filter(is_kept)
    return Difference(
        fresh=now.filter(pc.is_in(now["path"], value_set=to_open)),
        kept=kept,
        counts={
            "new": len(changes.new),
            "changed": len(changes.changed),
            "again": len(again),
            "gone": len(changes.gone),
            "unchanged": kept.num_rows,
        },
    )


def check_same_archive(
    counts: Mapping[str, int], num_old: int, num_now: int, settings: Mapping[str, Any]
) -> None:
    """Raise InputError if nearly all images are gone, and nearly all of those now are new.

    Args:
        counts: see `Difference`.
        num_old: images of the manifest.
        num_now: images that are listed now.
        settings: of the manifest.
    """
    if manifest.are_another_archive(counts["gone"], num_old, counts["new"], num_now):
        raise InputError(
            f"{counts['gone']} of {num_old} images are gone and {counts['new']} of "
            f"{num_now} are new: give the sources under the names they had, "
            f"{', '.join(settings['sources'])}, or index with --overwrite."
        )


def _check_rules(old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [
        f"{name} was {old.get(name)}, is {now[name]}"
        for name in _SAME
        if old.get(name) != now[name]
    ]
    if (old["groups"] is None) != (now["groups"] is None):
        differences.append(f"groups was {old['groups']}, is {now['groups']}")
    tables = [settings.get("table") or {} for settings in (old, now)]
    differences += [
        f"{name} of the table was {tables[0].get(name)}, is {tables[1].get(name)}"
        for name in dict.fromkeys([*tables[0], *tables[1]])
        # more tables may come with more images
        if name not in ("files", "max_unmatched") and tables[0].get(name) != tables[1].get(name)
    ]
    missing = set(old["sources"]) - set(now["sources"])
    differences += [f"source {source} is missing" for source in sorted(missing)]
    if differences:
        raise InputError(
            f"the manifest was made otherwise ({'; '.join(differences)}); update it with the same "
            "sources and settings, or index with --overwrite."
        )
