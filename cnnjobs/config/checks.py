"""Checks of settings: each raises ConfigError with the name, the value and what is allowed."""

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from cnnjobs.config import globs
from cnnjobs.errors import ConfigError


def at_least(name: str, value: int, least: int) -> None:
    """Raise below `least`."""
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}.")


def resamples(value: int) -> None:
    """Raise if there are too few resamples for an interval."""
    if value and value < 100:
        raise ConfigError(
            "resamples must be 0 (no intervals) or at least 100: fewer have no 2.5% quantile, "
            f"got {value}."
        )


def above_0(name: str, value: float) -> None:
    """Raise unless it is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be above 0, got {value}.")


def fraction(name: str, value: float) -> None:
    """Raise unless it is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {value}.")


def below_half(name: str, value: float) -> None:
    """Raise unless it is at least 0 and below 0.5."""
    if not 0 <= value < 0.5:
        raise ConfigError(f"{name} must be at least 0 and below 0.5, got {value}.")


def amount(name: str, value: str, total: int, of: str = "images") -> int:
    """How many of `total` are meant by a number (25) or a share (0.5%); raises for other texts."""
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", str(value).strip())
    if match is None or (match[2] and float(match[2]) > 100):
        raise ConfigError(
            f"{name} must be a number of {of} (25) or a share of them (0.5%), got {value}."
        )
    # in binary floating point, 11000 * 0.7 / 100 is below 77
    return int(match[1]) if match[1] else int(total * Fraction(match[2]) / 100)


def figures(value: str) -> None:
    """Raise unless it is a list of formats, without spaces: svg,pdf,png."""
    kinds = value.split(",")
    if not set(kinds) <= {"png", "svg", "pdf"} or len(set(kinds)) < len(kinds):
        raise ConfigError(
            "figures must be one or more of png, svg and pdf, with commas and no spaces between "
            f"them, got {value}."
        )


def choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise unless it is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value}.")


def renamed_once(name: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Raise if one old name is given two new ones; `pairs` are old and new names."""
    known: dict[str, str] = {}
    for old, new in pairs:
        if known.setdefault(old, new) != new:
            raise ConfigError(
                f"{name} must give {old!r} one new name, got {known[old]!r} and {new!r}."
            )


def digests(name: str, values: tuple[str, ...]) -> None:
    """Raise unless each is `sha256:` and 64 hex digits."""
    for value in values:
        if not re.fullmatch("sha256:[0-9a-f]{64}", value):
            raise ConfigError(
                f"{name} must be sha256: and 64 hex digits, as cnnjobs bundle show prints, "
                f"got {value}."
            )


def threshold_rule(value: str) -> None:
    """Raise unless it is youden, sensitivity=S or a probability."""
    match = re.fullmatch(r"youden|(?:sensitivity=)?(\d*\.?\d+(?:e-\d+)?)", value)
    if match is None or (match[1] and not 0 < float(match[1]) < 1):
        raise ConfigError(
            "threshold_rule must be youden, sensitivity=S or a probability, both above 0 and "
            f"below 1, got {value}."
        )


def regex(name: str, value: str, *, captures: str) -> None:
    """Raise unless it is a regular expression with one group."""
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ConfigError(f"{name} is not a regular expression: {error}, got {value!r}.") from error
    if groups != 1:
        raise ConfigError(
            f"{name} must have one (group) that captures the {captures}, got {groups} in {value!r}."
        )


def patterns(name: str, values: tuple[str, ...]) -> None:
    """Raise unless each is a pattern for paths."""
    for value in values:
        try:
            re.compile(globs.regex([value]))
        except re.error as error:
            raise ConfigError(f"{name} is not a pattern: {error}, got {value!r}.") from error
        if not value.strip("/"):
            raise ConfigError(f"{name} must name files or folders, got {value!r}.")
