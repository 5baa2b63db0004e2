"""From YAML files and flags to a config; unknown keys and wrong types are one-line errors."""

import dataclasses
import difflib
import inspect
import re
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from cnnjobs.config import AnyConfig, names, regular_files, urls
from cnnjobs.config.layouts import LAYOUTS
from cnnjobs.config.recipes import RECIPES
from cnnjobs.errors import ConfigError

#: Largest file of settings; YAML takes a second per 100 kB.
_MAX_BYTES = 1 << 20

#: Shows values in messages: those with aliases may contain each other a billion times.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200

#: Texts that may be a number.
_TEXTS_OF_NUMBERS = ("max_errors", "max_unmatched", "threshold_rule")

#: Settings that, if given, stand for others of a layout.
_REPLACES = (
    (("groups", "group_regex", "group_column"), ("group_regex", "group_column")),
    (("positive_when", "negative_when"), ("map",)),
    (("label_column",), ("positive_when", "negative_when", "map")),
)

#: A number that YAML 1.1 reads as text, though Python and JSON write it this way.
_EXPONENT = re.compile(r"[-+]?\d+e[-+]?\d+", re.IGNORECASE)


def resolve(kind: type[AnyConfig], flags: dict[str, Any], file: Path | None = None) -> AnyConfig:
    """Make a config from a YAML file and flags; flags override the file.

    If either names a recipe, its settings apply where neither gives a value.

    Raises:
        ConfigError: the file cannot be read, contains an unknown key or a value of the wrong type,
            or a setting without a default is missing.
    """
    settings = {**(_read(kind, file) if file is not None else {}), **flags}
    # unknown ones are left for the config to reject
    settings = {**presets(settings), **settings}
    required = (field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING)
    missing = [field.name for field in required if field.name not in settings]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} must be given, on the command line or in --config."
        )
    return kind(**settings)


def presets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a recipe or a layout gives where they are not given otherwise."""
    layout = dict(LAYOUTS.get(settings.get("layout") or "", {}))
    for given, replaced in _REPLACES:
        if any(settings.get(name) for name in given):
            layout = {name: value for name, value in layout.items() if name not in replaced}
    return {**RECIPES.get(settings.get("recipe") or "", {}), **layout}


def read_yaml(file: Path) -> dict[str, Any]:
    """The `key: value` lines of a YAML file; empty for an empty file.

    Raises:
        ConfigError: the file cannot be read, or contains anything else.
    """
    try:
        # a pipe as well: `--config <(sed s/first/second/ predict.yaml)`
        text = regular_files.read(file, limit=_MAX_BYTES, pipes=True).decode("utf-8")
        settings = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{file} is not a file of settings: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} is not a YAML file: {_where_it_breaks(error)}.") from error
    # before a message shows one
    urls.refuse("", settings)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{file} must contain `setting: value` lines, got {_kind_of(settings)}.")
    return settings


def checked_key(file: Path, key: str, known: Collection[str]) -> str:
    """Return `key` if it is known; otherwise raise a ConfigError that suggests a similar one."""
    if key in known:
        return key
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}."
    raise ConfigError(f"{file}: unknown key {key!r}; {hint}")


def checked_value(kind: type[AnyConfig], file: Path, key: str, value: Any) -> Any:
    """`value` converted to the type of the setting `key` of a config, or a ConfigError."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == key)
    return _checked(file, key, inspect.formatannotation(field.type), value)


def _read(kind: type[AnyConfig], file: Path) -> dict[str, Any]:
    settings = read_yaml(file)
    known = names(kind)
    for name, value in settings.items():
        settings[name] = checked_value(kind, file, checked_key(file, str(name), known), value)
    return settings


def _where_it_breaks(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, {error.problem}"
    return str(error).splitlines()[0]


def _checked(file: Path, name: str, annotation: str, value: Any) -> Any:
    """`value` converted to the type named by a field's annotation, or a ConfigError."""
    if name == "groups" and (value is None or isinstance(value, str)):
        # files of settings from when there could be only one
        value = [] if value is None else [value]
    is_flat = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
    if annotation.startswith("tuple") and is_flat:
        for item in value:
            if isinstance(item, bool) or not isinstance(item, str | int):
                raise ConfigError(
                    f"{file}: {name} must be a list of texts, got {_SHORT.repr(item)}; write it in "
                    "quotes."
                )
        return tuple(str(item) for item in value)
    if value is None and annotation.endswith("| None"):
        return None
    if name == "augment" and value is False:
        # YAML 1.1 reads off as false
        return "off"
    kind = annotation.removesuffix(" | None")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _TEXTS_OF_NUMBERS and is_number:
        return str(value)
    if kind == "float" and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    found = _kind_of(value)
    if kind == found or (kind == "float" and found == "int"):
        return float(value) if kind == "float" else value
    raise ConfigError(f"{file}: {name} must be {_a(kind)}, {_got(kind, value)}.")


def _got(kind: str, value: Any) -> str:
    """What was found, and what to write in its place where that is known."""
    if value is None:
        return "got nothing; give one, or leave the line out"
    found = f"got {_SHORT.repr(value) if isinstance(value, str | list | dict) else value}"
    if kind == "str" and not isinstance(value, list | dict):
        # YAML reads 3, no and 2026-01-02 as something other than text
        return f"{found}; write it in quotes"
    if kind.startswith("tuple") and isinstance(value, str):
        return f"{found}; write it as [{_SHORT.repr(value)}]"
    return found


def _kind_of(value: Any) -> str:
    return type(value).__name__


def _a(kind: str) -> str:
    names = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    return names.get(kind, "a list")
